"""Rules about providers: breakers, rate limits, budgets, models, and the sources themselves."""

from typing import Final

from aletheia.reasoning.rules.rule import (
    Advice,
    Found,
    Rule,
    find_above,
    find_worst,
    rule,
    write_share,
)
from aletheia.reasoning.settings import FindingSettings
from aletheia.reasoning.snapshot import ERRORS, View
from aletheia.text.grammar import agree

_METRICS: Final = "additional_metrics"
_BREAKERS: Final = f"{_METRICS}.breakers"
_BUDGETS: Final = f"{_METRICS}.budgets"
_LIMITS: Final = f"{_METRICS}.limits"


@rule(
    "breaker_open",
    "breakers",
    "a dependency is left alone since it failed",
    Advice(
        "Check the dependency",
        "A breaker is open: check that the dependency runs, and that address and key are right.",
        "Calls reach it again; what waits for it goes on.",
        "system",
        "medium",
    ),
)
def breaker_open(view: View, _: FindingSettings) -> Found | None:
    """Find dependencies whose breaker is open or lets only a probe try."""
    paths = [f"{_BREAKERS}.{key}.state" for key in view.keys(_BREAKERS)]
    wrong = [path for path in paths if view.text(path) in ("open", "half_open")]
    if not wrong:
        return None
    names = ", ".join(view.text(f"{path.rpartition('.')[0]}.name") for path in wrong)
    text = f"the breaker of {names} is open"
    return Found("high", text, {path: view.text(path) for path in wrong})


@rule("breaker_failing", "breakers", "a dependency fails repeatedly")
def breaker_failing(view: View, limits: FindingSettings) -> Found | None:
    """Find a dependency that failed some times in a row."""
    text = "{entity} failed {value} [time|times] in a row; the bound is {limit}"
    return find_worst(view, _BREAKERS, "failures", text, (limits.finding_breaker_failures, "low"))


@rule(
    "budget_spent",
    "budgets",
    "a budget is spent",
    Advice(
        "Raise the budget, or wait",
        "A budget is spent: paid calls wait until it begins anew, or until it is raised.",
        "Paid work goes on.",
        "system",
        "low",
    ),
)
def budget_spent(view: View, _: FindingSettings) -> Found | None:
    """Find a budget with nothing left."""
    return find_worst(view, _BUDGETS, "share", "{entity} is spent", (1.0, "high"))


@rule("budget_near", "budgets", "a budget is nearly spent")
def budget_near(view: View, limits: FindingSettings) -> Found | None:
    """Find a budget of which little is left."""
    text = "{entity} is spent to {limit} of its amount, or more"
    level = (limits.finding_budget_share, "medium")
    return find_worst(view, _BUDGETS, "share", text, level)


@rule("limit_reached", "limits", "a rate limit is reached")
def limit_reached(view: View, _: FindingSettings) -> Found | None:
    """Find a rate limit with nothing left."""
    text = "the rate limit of {entity} is reached"
    return find_worst(view, _LIMITS, "share", text, (1.0, "medium"))


@rule("limit_near", "limits", "a rate limit is nearly reached")
def limit_near(view: View, limits: FindingSettings) -> Found | None:
    """Find a rate limit of which little is left."""
    text = "{limit} of the rate limit of {entity}, or more, is used"
    return find_worst(view, _LIMITS, "share", text, (limits.finding_limit_share, "low"))


@rule("limit_refusals", "limits", "a rate limit refuses many requests")
def limit_refusals(view: View, limits: FindingSettings) -> Found | None:
    """Find a rate limit that is too small for what is asked."""
    text = "the rate limit of {entity} refused {value} [request|requests]; the bound is {limit}"
    return find_worst(view, _LIMITS, "refusals", text, (limits.finding_limit_refusals, "low"))


@rule(
    "models_memory",
    "models",
    "models fill their memory",
    Advice(
        "Allow models more memory",
        "Raise MODEL_MEMORY_MAX, or unload models that are not used, so that none is loaded twice.",
        "Tasks do not wait for a model to load.",
        "performance",
        "low",
    ),
)
def models_memory(view: View, limits: FindingSettings) -> Found | None:
    """Find that the loaded models take most of what they may."""
    path = f"{_METRICS}.models.memory_share"
    said = write_share(view.number(path) or 0)
    text = "loaded models take {value} of the memory that they may take"
    return find_above(view, path, text, (limits.finding_models_memory, "low"), said=said)


@rule("explanations_fail", "reasoning", "the model that explains findings does not answer")
def explanations_fail(view: View, _: FindingSettings) -> Found | None:
    """Find that explanations come from the rules alone for a while."""
    path = f"{_METRICS}.reasoning.failures"
    text = "the model that explains findings failed {value} [time|times] in a row"
    return find_above(view, path, text, (3, "low"))


@rule(
    "source_failed",
    "sources",
    "a source of the snapshot failed",
    Advice(
        "Check the sources",
        "Part of the system could not be seen; `aletheia doctor` says what does not answer.",
        "Findings rest on the whole system.",
        "system",
        "low",
    ),
)
def source_failed(view: View, _: FindingSettings) -> Found | None:
    """Find sources that failed: what they would show is not known."""
    path = f"{_METRICS}.{ERRORS}"
    failed = view.keys(path)
    if not failed:
        return None
    total = view.number(f"{_METRICS}.sources")
    severity = "high" if total and 2 * len(failed) >= total else "medium"
    share = f" ({write_share(len(failed) / total)})" if total else ""
    counted = agree(f"{len(failed)} [source|sources] failed", len(failed))
    text = f"{counted}{share}: {', '.join(failed)}"
    return Found(severity, text, {f"{path}.{name}": view.text(f"{path}.{name}") for name in failed})


RULES: Final[tuple[Rule, ...]] = (
    breaker_open,
    breaker_failing,
    budget_spent,
    budget_near,
    limit_reached,
    limit_near,
    limit_refusals,
    models_memory,
    explanations_fail,
    source_failed,
)
