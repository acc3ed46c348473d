import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from aletheia.errors import Misconfigured
from aletheia.llm.prices import NANO, PriceTable, Tokens, UnknownPrice, usd_of
from aletheia.settings import BudgetSettings

PRICES: dict[str, Any] = {
    "openai": {
        "batch_factor": 0.5,
        "models": {
            "small": {"embedding": 0.02},
            "large": {"embedding": 0.13, "batch_factor": 1},
            "chat": {"input": 0.15, "output": 0.6},
            "wise": {"input": 5, "output": 0.1},
        },
    },
    "other": {"models": {"dear": {"input": 15, "output": 75}}},
    "ollama": {"models": {"*": {"input": 0, "output": 0, "embedding": 0}}},
}

MILLION = Tokens(1_000_000)


def settings(**values: Any) -> BudgetSettings:
    return BudgetSettings(_env_file=None, **values)  # pyright: ignore[reportCallIssue] - pydantic-settings' own argument


def table(unknown: UnknownPrice = "dearest") -> PriceTable:
    return PriceTable(PRICES, unknown=unknown)


def test_an_embedding_costs_what_its_tokens_cost():
    assert table().cost("openai", "small", "embedding", MILLION) == NANO // 50
    assert table().cost("openai", "small", "embedding", Tokens(1)) == 20
    assert table().cost("openai", "small", "embedding", Tokens(0)) == 0


def test_a_chat_costs_what_it_reads_and_what_it_writes():
    cost = table().cost("openai", "chat", "chat", Tokens(2_000_000, 1_000_000))
    assert usd_of(cost) == Decimal("0.9")


def test_a_batch_costs_its_part_of_the_price():
    batch = table().cost("openai", "small", "embedding", MILLION, is_batch=True)
    assert usd_of(batch) == Decimal("0.01")
    dear = table().cost("openai", "large", "embedding", MILLION, is_batch=True)
    assert usd_of(dear) == Decimal("0.13")
    assert usd_of(table().cost("other", "dear", "chat", MILLION, is_batch=True)) == 15


def test_a_cost_is_rounded_up_to_whole_nano_dollars():
    prices = PriceTable({"p": {"models": {"m": {"embedding": 0.0375}}}})
    assert prices.cost("p", "m", "embedding", Tokens(1)) == 38
    assert prices.cost("p", "m", "embedding", Tokens(2)) == 75


def test_many_costs_add_up_exactly():
    cost = table().cost("openai", "large", "embedding", Tokens(7))
    assert usd_of(sum([cost] * 1_000_000)) == Decimal("0.91")


@pytest.mark.parametrize("model", ["small-2026-01-31", "small-20260131"])
def test_a_dated_model_has_the_price_of_its_name(model: str):
    assert table("refuse").cost("openai", model, "embedding", Tokens(1)) == 20


def test_any_model_of_a_provider_may_have_one_price():
    assert table("refuse").cost("ollama", "whatever:latest", "embedding", MILLION) == 0


def test_an_unknown_model_counts_as_the_dearest_of_its_provider(caplog: pytest.LogCaptureFixture):
    prices = table()
    for _ in range(3):
        assert usd_of(prices.cost("openai", "new", "embedding", MILLION)) == Decimal("0.13")
    both = Tokens(1_000_000, 1_000_000)
    assert usd_of(prices.cost("openai", "new", "chat", both)) == Decimal("5.6")
    warnings = [record.getMessage() for record in caplog.records]
    assert len(warnings) == 2
    assert "no price for embedding by 'new' of 'openai': counted at 0.13" in warnings[0]


def test_a_model_without_a_price_for_this_counts_as_the_dearest_that_has_one():
    assert usd_of(table().cost("openai", "chat", "embedding", MILLION)) == Decimal("0.13")
    assert usd_of(table().cost("other", "dear", "embedding", MILLION)) == Decimal("0.13")
    assert usd_of(table().cost("nobody", "x", "chat", MILLION)) == 15
    assert PriceTable({}).cost("nobody", "x", "chat", MILLION) == 0


def test_an_unknown_model_may_be_free_or_refused():
    assert table("free").cost("openai", "new", "embedding", MILLION) == 0
    with pytest.raises(Misconfigured, match="no price for embedding by 'new' of 'openai'"):
        table("refuse").cost("openai", "new", "embedding", MILLION)


def test_the_table_that_comes_with_it_knows_the_usual_models():
    prices = PriceTable.from_settings(settings(unknown_model_price="refuse"))
    assert prices.cost("openai", "text-embedding-3-small", "embedding", Tokens(1)) == 20
    assert prices.cost("openai", "text-embedding-3-large", "embedding", Tokens(1)) == 130
    sonnet = prices.cost("openrouter", "anthropic/claude-sonnet-4.5", "chat", Tokens(1, 1))
    assert sonnet == 18_000
    dated = prices.cost("anthropic", "claude-sonnet-4-5-20250929", "chat", Tokens(1, 1))
    assert dated == sonnet
    for free in ("ollama", "local", "mock"):
        assert prices.cost(free, "any", "embedding", MILLION) == 0


def test_the_users_own_prices_lie_over_it_value_by_value(tmp_path: Path):
    own = tmp_path / "prices.json"
    own.write_text(
        json.dumps(
            {
                "openai": {"models": {"text-embedding-3-small": {"embedding": 0.05}}},
                "house": {"models": {"*": {"embedding": 0.001}}},
            }
        )
    )
    prices = PriceTable.from_settings(settings(price_table=own))
    assert prices.cost("openai", "text-embedding-3-small", "embedding", Tokens(1)) == 50
    batch = prices.cost("openai", "text-embedding-3-small", "embedding", Tokens(1), is_batch=True)
    assert batch == 25
    assert prices.cost("openai", "text-embedding-3-large", "embedding", Tokens(1)) == 130
    assert prices.cost("house", "any", "embedding", Tokens(1)) == 1


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"openai": 3}',
        '{"openai": {"models": {"m": {"embedding": -1}}}}',
        '{"openai": {"models": {"m": {"embedding": "cheap"}}}}',
        '{"openai": {"models": {"m": {"embeding": 1}}}}',
        '{"openai": {"models": {"m": {"embedding": NaN}}}}',
        '{"openai": {"models": {"m": {"embedding": Infinity}}}}',
        '{"openai": {"batch_factor": 2}}',
        '{"openai": {"modles": {}}}',
    ],
)
def test_a_table_that_makes_no_sense_is_refused(tmp_path: Path, text: str):
    own = tmp_path / "prices.json"
    own.write_text(text)
    with pytest.raises(Misconfigured, match="PRICE_TABLE"):
        PriceTable.from_settings(settings(price_table=own))


def test_a_table_that_is_not_there_is_refused(tmp_path: Path):
    with pytest.raises(Misconfigured, match="PRICE_TABLE: it cannot be read"):
        PriceTable.from_settings(settings(price_table=tmp_path / "none.json"))
