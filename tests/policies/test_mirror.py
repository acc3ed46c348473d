"""A module of the product has its tests in the same place, or in a suite that is named here."""

import ast
from functools import cache
from pathlib import Path

import pytest

from deployments import ROOT

PRODUCT = ("aletheia", "flows", "tasks", "blocks", "deployments")

MAX_LISTED = 145
"""Modules without tests of their own name; the number may only shrink."""

COVERED_BY = {
    # One contract for every backend of a port.
    "aletheia/adapters/brain/test_brain_contract.py": ("aletheia/brain/graph",),
    "aletheia/adapters/content/test_contract.py": (
        *("aletheia/adapters/content/embedded", "aletheia/adapters/content/mongodb"),
        *("aletheia/items/content", "aletheia/items/project_items", "aletheia/items/vector_cache"),
    ),
    "aletheia/adapters/documents/test_contract.py": (
        *("aletheia/adapters/documents/mongodb_queries", "aletheia/adapters/documents/notation"),
        "aletheia/documents",
    ),
    # What one backend has beyond its contract, in the modules that it is made of.
    "aletheia/adapters/brain/test_embedded.py": (
        *("aletheia/adapters/brain/embedded_statements", "aletheia/adapters/brain/matrices"),
    ),
    "aletheia/adapters/brain/test_neo4j.py": (
        *("aletheia/adapters/brain/neo4j_connection", "aletheia/adapters/brain/neo4j_search"),
        "aletheia/adapters/brain/neo4j_server",
    ),
    "aletheia/adapters/brain/test_service_client.py": (
        *("aletheia/adapters/brain/dialect", "aletheia/adapters/brain/service"),
    ),
    "aletheia/adapters/documents/test_embedded.py": (
        *("aletheia/adapters/documents/file", "aletheia/adapters/documents/statements"),
        "aletheia/adapters/documents/worker",
    ),
    "aletheia/adapters/documents/test_mongodb.py": ("aletheia/adapters/documents/mongodb_errors",),
    # Clients, through what their servers see.
    "aletheia/adapters/local/test_embedder.py": (
        *("aletheia/adapters/local/jobs", "aletheia/adapters/local/lifecycle"),
        "aletheia/adapters/local/pool",
        "aletheia/analysis/ports",
    ),
    "aletheia/adapters/test_http.py": ("aletheia/adapters/http_answers",),
    "aletheia/adapters/test_metering.py": ("aletheia/llm/calls",),
    "aletheia/adapters/upstream/test_client.py": ("aletheia/adapters/upstream/pages",),
    "aletheia/adapters/upstream/test_oauth2.py": ("aletheia/adapters/upstream/sign_in",),
    # The service, through its API.
    "aletheia/service/test_app.py": (*("aletheia/service/ports", "aletheia/service/token_routes"),),
    "aletheia/reasoning/test_claims.py": (
        *("aletheia/reasoning/references", "aletheia/reasoning/wording"),
    ),
    "aletheia/reasoning/test_engine.py": ("aletheia/reasoning/models",),
    "aletheia/reasoning/test_explaining.py": (
        "aletheia/adapters/mock/reasoning",
        "aletheia/reasoning/prompts/explain_findings",
    ),
    "aletheia/reasoning/test_findings.py": (
        *("aletheia/reasoning/rules/gathering", "aletheia/reasoning/rules/platform"),
        *("aletheia/reasoning/rules/providers", "aletheia/reasoning/rules/queue"),
        *("aletheia/reasoning/rules/rule", "aletheia/reasoning/rules/runs"),
        "aletheia/reasoning/settings",
    ),
    "aletheia/reasoning/test_platform.py": (
        "aletheia/adapters/platform/embedded",
        "deployments/examples/platform",
    ),
    "aletheia/reasoning/test_sources.py": ("aletheia/reasoning/facts",),
    "aletheia/adapters/prefect/test_reader.py": ("aletheia/reasoning/ports",),
    "aletheia/service/test_reasoning_api.py": ("aletheia/service/reasoning",),
    "aletheia/service/test_brain_api.py": ("aletheia/service/brain",),
    # Parts of one domain, through the part that uses them.
    "aletheia/brain/test_index.py": (
        *("aletheia/brain/context", "aletheia/brain/forms", "aletheia/brain/ports"),
    ),
    "aletheia/brain/test_outbox.py": ("aletheia/brain/access", "aletheia/brain/intents"),
    "aletheia/brain/test_reconciliation.py": ("aletheia/brain/items",),
    "aletheia/events/test_dead_events.py": ("aletheia/events/ports",),
    "aletheia/events/test_delivery.py": ("aletheia/events/turn",),
    "aletheia/events/test_log.py": ("aletheia/events/models", "aletheia/store/project_id"),
    "aletheia/gather/test_batches.py": ("aletheia/gather/scoring",),
    "aletheia/gather/test_runs.py": (
        *("aletheia/gather/errors", "aletheia/gather/project_lock", "aletheia/gather/run_records"),
    ),
    "aletheia/intake/test_acknowledgements.py": ("aletheia/intake/reporter",),
    "aletheia/intake/test_bulk.py": (
        *("aletheia/intake/bulk/backlog", "aletheia/intake/bulk/claims"),
        *("aletheia/intake/bulk/lane", "aletheia/intake/bulk/orders"),
        *("aletheia/intake/bulk/ports", "aletheia/intake/bulk/settling"),
        "aletheia/intake/bulk/turn",
    ),
    "aletheia/intake/test_clocks.py": (
        *("aletheia/intake/claims", "aletheia/intake/ledger", "aletheia/intake/rows"),
    ),
    "aletheia/intake/test_holds.py": ("aletheia/intake/admission",),
    "aletheia/intake/test_late_answers.py": ("aletheia/intake/ports",),
    "aletheia/intake/test_parsing.py": ("aletheia/intake/models",),
    "aletheia/intake/test_poller.py": (
        *("aletheia/intake/collector", "aletheia/intake/computer", "aletheia/intake/held_claims"),
        *("aletheia/intake/pages", "aletheia/intake/replayer", "aletheia/intake/reports"),
    ),
    "aletheia/intake/test_trace.py": ("aletheia/intake/dead_letters",),
    "aletheia/items/test_duplicate_judge.py": ("aletheia/items/prompts/judge_duplicate",),
    "aletheia/llm/test_asking.py": ("aletheia/llm/answers",),
    "aletheia/llm/test_structured.py": ("aletheia/llm/json_text",),
    "aletheia/quality/test_evaluation.py": (
        "aletheia/quality/evaluation_store",
        "aletheia/quality/prompts/evaluate_department",
    ),
    "aletheia/quality/test_judge.py": ("aletheia/quality/prompts/judge_quality",),
    "aletheia/quality/test_scores.py": ("aletheia/quality/aspects", "aletheia/quality/reading"),
    "policies/test_blocks.py": ("blocks/departments", "blocks/events", "blocks/store"),
    "policies/test_configuration.py": ("aletheia/settings", "deployments/configuration"),
    "policies/test_entrypoints.py": ("deployments/declarations",),
    "policies/test_errors.py": ("aletheia/errors",),
    "policies/test_tasks.py": ("tasks/policies",),
    "blocks/test_llm_account.py": ("blocks/openai_account", "blocks/secret_values"),
    # Tasks and the clients of their sessions, through the flows that run them.
    "flows/test_bulk.py": ("tasks/bulk",),
    "flows/test_calibrate.py": ("tasks/calibration",),
    "flows/test_evaluate.py": ("tasks/evaluation", "tasks/clients/content"),
    "flows/test_gather.py": (
        *("flows/replay_events", "tasks/clients/events", "tasks/clients/gather"),
        *("tasks/gather", "tasks/gather_artifacts", "tasks/gather_operations"),
    ),
    "flows/test_gather_interruptions.py": (
        *("flows/resume", "tasks/gather_closing", "tasks/gather_opening"),
    ),
    "flows/test_models.py": ("tasks/clients/models", "tasks/models"),
    "flows/test_modes.py": (
        *("tasks/artifacts", "tasks/clients/embedding", "tasks/clients/metering"),
    ),
    "flows/test_poll.py": ("tasks/clients/intake", "tasks/intake"),
    "flows/test_reasoning.py": (
        *("flows/plan", "tasks/clients/reasoning", "tasks/plans", "tasks/reasoning"),
    ),
    "flows/test_reconcile.py": (
        *("aletheia/adapters/embedding/items", "tasks/clients/brain", "tasks/clients/store"),
        *("tasks/reconcile", "tasks/status"),
    ),
    "flows/test_sweep.py": ("tasks/sweep",),
    "flows/test_undo.py": ("tasks/auditing",),
    # Commands, and what they are made of.
    "flows/test_evaluate_command.py": ("deployments/runs",),
    "flows/test_reconcile_command.py": ("deployments/reconcile",),
    "deployments/demo/test_gather.py": ("deployments/demo/gather_outcome",),
    "deployments/demo/test_run.py": ("deployments/steps",),
    "deployments/doctor/test_examine.py": (
        *("deployments/doctor/dependencies", "deployments/doctor/machine"),
        "deployments/doctor/results",
    ),
    "deployments/examples/test_upstream.py": ("deployments/examples/server",),
    "deployments/test_gather.py": ("deployments/event_lines",),
    "deployments/test_local.py": ("deployments/local_runs", "deployments/processes"),
}
"""Suites below `tests/`, each one file, and the modules that it covers."""

UNTESTED = {
    # `aletheia doctor` starts a run and follows it for up to three minutes; no test does.
    *("deployments/doctor/probe", "flows/probe"),
}

LOADS_BY_NAME = {"deployments/cli.py": "deployments", "tests/policies/test_tasks.py": "tasks"}
"""Files that import the modules of a folder when they run, rather than by a statement."""

DEPTH, DEPTH_OF_FLOWS = 2, 3
"""How many files of the product, each imported by the one before, a suite is believed to use; those
of flows start a flow, which has tasks, which have clients."""

LISTED = [module for modules in COVERED_BY.values() for module in modules] + sorted(UNTESTED)


def own_tests(module: str) -> Path:
    folder, _, name = f"tests/{module}".rpartition("/")
    return ROOT / folder / f"test_{name}.py"


def test_every_module_of_the_product_has_its_tests():
    modules = {
        str(file.relative_to(ROOT).with_suffix(""))
        for folder in PRODUCT
        for file in (ROOT / folder).rglob("*.py")
        if file.name != "__init__.py"
    }
    assert {module for module in modules if not own_tests(module).exists()} == set(LISTED)
    assert len(LISTED) == len(set(LISTED)) == MAX_LISTED


@cache
def imports(file: Path) -> frozenset[Path]:
    """The files of this repository that a file imports, itself or by the packages it names."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_bytes())):
        match node:
            case ast.Import(aliases):
                names |= {alias.name for alias in aliases}
            case ast.ImportFrom(module=str(module), names=aliases, level=0):
                names |= {module, *(f"{module}.{alias.name}" for alias in aliases)}
            case _:
                pass
    paths = [ROOT.joinpath(*name.split(".")) for name in names]
    found = [
        *(path.with_suffix(".py") for path in paths),
        *(path / "__init__.py" for path in paths),
    ]
    if folder := LOADS_BY_NAME.get(str(file.relative_to(ROOT))):
        found += (ROOT / folder).glob("*.py")
    return frozenset(path for path in found if path.is_file())


def reached(suite: str) -> set[Path]:
    """The files that a suite imports, itself or by any file of the tests or few of the product."""
    found: set[Path] = set()
    start = ROOT / "tests" / suite
    conftests = [folder / "conftest.py" for folder in start.parents if folder.is_relative_to(ROOT)]
    left = {start, *filter(Path.is_file, conftests)}
    for _ in range(1 + (DEPTH_OF_FLOWS if suite.startswith("flows/") else DEPTH)):
        product: set[Path] = set()
        while left:
            file = left.pop()
            found.add(file)
            new = imports(file) - found
            tests = {path for path in new if path.is_relative_to(ROOT / "tests")}
            left |= tests if file.is_relative_to(ROOT / "tests") else set()
            product |= new - tests
        left = product - found
    return found


@pytest.mark.parametrize("suite", COVERED_BY)
def test_a_named_suite_uses_what_it_covers(suite: str):
    files = reached(suite)
    assert not [module for module in COVERED_BY[suite] if ROOT / f"{module}.py" not in files]


def test_a_suite_does_not_use_everything_below_what_it_imports():
    assert ROOT / "aletheia/text/facts.py" not in reached("flows/test_bulk.py")
