"""What `prefect.yaml` declares can be deployed and run."""

import pytest
import yaml
from prefect.cli.deploy._models import PrefectYamlModel
from prefect.flows import Flow, load_flow_from_entrypoint

from deployments import ROOT
from deployments.declarations import Deployment, read_declarations

DECLARED = read_declarations()


def each(deployment: Deployment) -> str:
    return deployment.name


@pytest.fixture(params=DECLARED.deployments, ids=each)
def deployment(request: pytest.FixtureRequest) -> Deployment:
    return request.param


@pytest.fixture
def flow(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> Flow[..., object]:
    monkeypatch.chdir(ROOT)
    return load_flow_from_entrypoint(deployment.entrypoint)


def test_a_flow_has_the_name_of_its_deployment(deployment: Deployment, flow: Flow[..., object]):
    assert flow.name == deployment.flow_name
    assert deployment.name == deployment.parameters.get("lane", flow.name)


def test_parameters_are_accepted_by_the_flow(deployment: Deployment, flow: Flow[..., object]):
    flow.validate_parameters(deployment.parameters)


def test_every_parameter_of_the_flow_is_shown_to_the_operator(
    deployment: Deployment, flow: Flow[..., object]
):
    assert set(deployment.parameters) == set(flow.parameters.properties)


def test_results_are_not_persisted(deployment: Deployment, flow: Flow[..., object]):
    assert flow.persist_result is False, deployment.name


def test_prefect_reads_the_file_without_objection():
    declared = yaml.safe_load((ROOT / "prefect.yaml").read_text())
    assert len(PrefectYamlModel.model_validate(declared).deployments) == len(DECLARED.deployments)


def test_every_deployment_names_a_declared_pool_and_queue():
    declared = yaml.safe_load((ROOT / "prefect.yaml").read_text())
    queues = {(pool.name, queue.name) for pool in DECLARED.work_pools for queue in pool.queues}
    for deployment in declared["deployments"]:
        pool = deployment["work_pool"]
        assert (pool["name"], pool["work_queue_name"]) in queues
        assert "job_variables" not in pool
    for work_pool in DECLARED.work_pools:
        assert work_pool.env["PREFECT_RESULTS_PERSIST_BY_DEFAULT"] == "false"


def test_no_file_of_the_flows_hides_a_package():
    # A path entry point puts flows/ first on the module path.
    packages = {path.name for path in ROOT.iterdir() if path.is_dir()}
    assert packages.isdisjoint(path.stem for path in (ROOT / "flows").glob("*.py"))
