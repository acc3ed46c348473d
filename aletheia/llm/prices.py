"""What models cost: list prices of the middle of 2026, and the user's `PRICE_TABLE` laid over them.

Both are in USD per million tokens, and `*` is every model of a provider that is not listed:

    {"openai": {"batch_factor": 0.5, "models": {"text-embedding-3-small": {"embedding": 0.02}}}}

Costs are whole nano-dollars, rounded up once per call, so that sums are exact.
"""

import json
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from importlib import resources
from typing import Any, Final, Literal, TypeAlias, cast

from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from aletheia.errors import Misconfigured
from aletheia.settings import BudgetSettings

log = logging.getLogger(__name__)

Kind: TypeAlias = Literal["embedding", "chat", "transcription"]
"""Kind of a call; its price depends on it. Of a transcription each second counts as a token."""

UnknownPrice: TypeAlias = Literal["dearest", "free", "refuse"]

NANO: Final = 10**9
"""Nano-dollars in a dollar."""

_PER_TOKEN: Final = 1000
"""Nano-dollars a token costs at one USD per million tokens."""

_ANY: Final = "*"
_DATE: Final = re.compile(r"-(\d{4}-\d{2}-\d{2}|\d{8})$")


@dataclass(frozen=True, slots=True)
class Tokens:
    """Tokens of a call: those it reads, and those it writes."""

    input: int
    output: int = 0

    @property
    def total(self) -> int:
        """Both together."""
        return self.input + self.output


class _ModelPrice(BaseModel, frozen=True, extra="forbid"):
    """USD per million tokens; what is missing is not offered."""

    input: Decimal | None = Field(default=None, ge=0)
    output: Decimal | None = Field(default=None, ge=0)
    embedding: Decimal | None = Field(default=None, ge=0)
    transcription: Decimal | None = Field(default=None, ge=0)  # USD per million seconds
    batch_factor: Decimal | None = Field(default=None, ge=0, le=1)


class _ProviderPrices(BaseModel, frozen=True, extra="forbid"):
    batch_factor: Decimal = Field(default=Decimal(1), ge=0, le=1)
    models: dict[str, _ModelPrice] = Field(default_factory=dict[str, _ModelPrice])


_NO_PRICES: Final = _ProviderPrices()
_TABLE: Final = TypeAdapter(dict[str, _ProviderPrices])


class PriceTable:
    """What calls cost; `providers`: JSON of the form above, else `Misconfigured`.

    `unknown`: what a model without a price counts as: the dearest price of its provider (of all,
    where that has none), nothing, or an error.
    """

    def __init__(self, providers: Mapping[str, Any], *, unknown: UnknownPrice = "dearest") -> None:
        try:
            self._providers = _TABLE.validate_python(dict(providers))
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            place = ".".join(map(str, first["loc"]))
            raise Misconfigured("PRICE_TABLE", f"{place}: {first['msg']}") from None
        self._unknown: UnknownPrice = unknown
        self._warned: set[tuple[str, str, Kind]] = set()

    @classmethod
    def from_settings(cls, settings: BudgetSettings) -> "PriceTable":
        """Read our table and the user's. Raises `Misconfigured`: the user's cannot be read."""
        packaged = resources.files("aletheia.llm").joinpath("prices.json")
        table = _parse(packaged.read_text("utf-8"))
        if settings.price_table is not None:
            try:
                own = _parse(settings.price_table.read_text("utf-8"))
            except (OSError, ValueError) as error:
                raise Misconfigured("PRICE_TABLE", f"it cannot be read: {error}") from error
            table = _lay_over(table, own)
        return cls(table, unknown=settings.unknown_model_price)

    def cost(
        self, provider: str, model: str, kind: Kind, tokens: Tokens, *, is_batch: bool = False
    ) -> int:
        """Return what a call costs, in nano-dollars, rounded up.

        `Misconfigured` where the model has no price, and `unknown` is `refuse`.
        """
        price = self._price_of(provider, model, kind)
        usd_per_million = price[0] * tokens.input + price[1] * tokens.output
        if is_batch:
            usd_per_million *= self._batch_factor(provider, model)
        return int((usd_per_million * _PER_TOKEN).to_integral_value(ROUND_CEILING))

    def _price_of(self, provider: str, model: str, kind: Kind) -> tuple[Decimal, Decimal]:
        """Return the price of a token read and of a token written."""
        for entry in self._entries(provider, model):
            if (listed := _of_kind(entry, kind)) is not None:
                return listed
        if self._unknown == "refuse":
            reason = f"it has no price for {kind} by {model!r} of {provider!r}"
            raise Misconfigured("PRICE_TABLE", reason)
        is_free = self._unknown == "free"
        price = (Decimal(0), Decimal(0)) if is_free else self._dearest(provider, kind)
        if (provider, model, kind) not in self._warned:
            self._warned.add((provider, model, kind))
            log.warning(
                "no price for %s by %r of %r: counted at %s and %s USD per million tokens; "
                "PRICE_TABLE can name it",
                kind,
                model,
                provider,
                *price,
            )
        return price

    def _dearest(self, provider: str, kind: Kind) -> tuple[Decimal, Decimal]:
        for providers in ([provider], list(self._providers)):
            prices = [
                price
                for name in providers
                for listed in self._prices_of(name).models.values()
                if (price := _of_kind(listed, kind)) is not None
            ]
            if prices:
                return max(price[0] for price in prices), max(price[1] for price in prices)
        return Decimal(0), Decimal(0)

    def _batch_factor(self, provider: str, model: str) -> Decimal:
        factors = (entry.batch_factor for entry in self._entries(provider, model))
        default = self._prices_of(provider).batch_factor
        return next((factor for factor in factors if factor is not None), default)

    def _entries(self, provider: str, model: str) -> list[_ModelPrice]:
        """Return what holds for a model, the most exact first."""
        models = self._prices_of(provider).models
        names = (model, _DATE.sub("", model), _ANY)
        return [models[name] for name in names if name in models]

    def _prices_of(self, provider: str) -> _ProviderPrices:
        return self._providers.get(provider, _NO_PRICES)


def usd_of(nanousd: int) -> Decimal:
    """Return nano-dollars as dollars, exactly."""
    return Decimal(nanousd) / NANO


def _of_kind(price: _ModelPrice, kind: Kind) -> tuple[Decimal, Decimal] | None:
    if kind == "embedding":
        return None if price.embedding is None else (price.embedding, Decimal(0))
    if kind == "transcription":
        return None if price.transcription is None else (price.transcription, Decimal(0))
    if price.input is None or price.output is None:
        return None
    return price.input, price.output


def _parse(text: str) -> dict[str, Any]:
    """Return JSON with numbers as `Decimal`."""
    table = json.loads(text, parse_float=Decimal)
    if not isinstance(table, dict):
        raise ValueError("it is no JSON object")  # noqa: TRY004 - as for anything else in it
    return cast("dict[str, Any]", table)


def _lay_over(table: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    merged = dict(table)
    for name, value in own.items():
        below = merged.get(name)
        if isinstance(below, dict) and isinstance(value, dict):
            merged[name] = _lay_over(cast("dict[str, Any]", below), cast("dict[str, Any]", value))
        else:
            merged[name] = value
    return merged
