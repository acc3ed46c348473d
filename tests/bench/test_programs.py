"""In what environment a bench's programs run."""

from bench.programs import default_environment


def test_settings_of_the_operator_do_not_reach_a_bench():
    environment = default_environment(
        {"BATCH_MAX_TASKS": "7", "processing_mode": "mock", "PATH": "/bin", "PREFECT_HOME": "/h"}
    )
    assert environment.keys() & {"BATCH_MAX_TASKS", "processing_mode"} == set()
    assert (environment["PATH"], environment["PREFECT_HOME"]) == ("/bin", "/h")
