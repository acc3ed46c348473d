"""A module of the library has its tests in the same place, or in a suite that is named here."""

from pathlib import Path

import pytest

from deployments import ROOT

COVERED_BY = {
    "tests/aletheia/adapters/brain": (
        *("adapters/brain/dialect", "adapters/brain/embedded_statements"),
        *("adapters/brain/matrices", "adapters/brain/neo4j_connection"),
        "adapters/brain/neo4j_search",
        *("adapters/brain/neo4j_server", "adapters/brain/service", "brain/graph"),
    ),
    "tests/aletheia/service/test_brain_api.py": (
        *("brain/wire", "service/app", "service/brain", "service/guarding"),
        "service/refusals",
    ),
    "tests/aletheia/adapters/content": ("adapters/content/embedded", "adapters/content/mongodb"),
    "tests/aletheia/adapters/documents": (
        *("adapters/documents/file", "adapters/documents/mongodb_errors"),
        *("adapters/documents/mongodb_queries", "adapters/documents/notation"),
        *("adapters/documents/statements", "adapters/documents/worker", "documents"),
    ),
    "tests/aletheia/items/test_dedup.py": (
        *("adapters/embedding/items", "items/content", "items/project_items"),
        *("items/prompts/judge_duplicate", "items/vector_cache"),
    ),
    "tests/aletheia/adapters/test_http.py": ("adapters/http_answers",),
    "tests/aletheia/adapters/local/test_embedder.py": (
        *("adapters/local/jobs", "adapters/local/lifecycle", "adapters/local/pool"),
        "analysis/ports",
    ),
    "tests/aletheia/adapters/upstream/test_client.py": ("adapters/upstream/pages",),
    "tests/aletheia/adapters/upstream/test_oauth2.py": ("adapters/upstream/sign_in",),
    "tests/aletheia/brain": (
        *("brain/access", "brain/intents", "brain/items"),
        *("brain/context", "brain/forms", "brain/ports"),
    ),
    "tests/aletheia/events": ("events/models", "events/ports", "events/turn"),
    "tests/aletheia/gather": (
        *("gather/errors", "gather/project_lock", "gather/run_records", "gather/scoring"),
    ),
    "tests/aletheia/intake": (
        *("intake/admission", "intake/claims", "intake/collector"),
        *("intake/computer", "intake/dead_letters", "intake/held_claims"),
        *("intake/ledger", "intake/models", "intake/pages", "intake/ports", "intake/replayer"),
        *("intake/reporter", "intake/reports", "intake/rows"),
    ),
    "tests/aletheia/intake/test_bulk.py": (
        *("intake/bulk/backlog", "intake/bulk/claims", "intake/bulk/lane"),
        *("intake/bulk/orders", "intake/bulk/ports"),
        *("intake/bulk/settling", "intake/bulk/turn"),
    ),
    "tests/aletheia/llm": (
        *("llm/answers", "llm/calls"),
        "llm/json_text",
    ),
    "tests/aletheia/quality": (
        *("quality/aspects", "quality/evaluation_store"),
        *("quality/prompts/evaluate_department", "quality/prompts/judge_quality"),
        "quality/reading",
    ),
    "tests/policies/test_configuration.py": ("settings",),
    "tests/policies/test_errors.py": ("errors",),
    "tests/aletheia/store": ("store/project_id",),
}
"""Contract suites, and the modules that each of them covers."""

LISTED = [module for modules in COVERED_BY.values() for module in modules]


def own_tests(module: str) -> Path:
    folder, _, name = f"tests/aletheia/{module}".rpartition("/")
    return ROOT / folder / f"test_{name}.py"


def test_every_module_of_the_library_has_its_tests():
    modules = {
        str(file.relative_to(ROOT / "aletheia").with_suffix(""))
        for file in (ROOT / "aletheia").rglob("*.py")
        if file.name != "__init__.py"
    }
    assert {module for module in modules if not own_tests(module).exists()} == set(LISTED)
    assert len(LISTED) == len(set(LISTED))


@pytest.mark.parametrize("suite", COVERED_BY)
def test_a_named_suite_has_tests(suite: str):
    found = ROOT / suite
    assert found.is_file() or any(found.glob("test_*.py"))
