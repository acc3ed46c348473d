"""Entries of a pending list that nobody in their right mind would send, by the thousand."""

import random
from collections.abc import Callable
from typing import Any

SURROGATE = "\ud800"
NAMES = (
    *("id", "_id", "type", "task_type", "state", "status", "data", "content", "input_data"),
    *("parameters", "callbackRoute", "callbackParams", "createdAt", "created_at", "job_id"),
    *("retry_count", "max_retries"),
)


def nested(depth: int, leaf: object) -> object:
    """A value so many levels deep."""
    value = leaf
    for level in range(depth):
        value = {"x": value} if level % 2 else [value]
    return value


class Hostility:
    """Draws hostile values.

    Args:
        seed: the same one draws the same values.
    """

    def __init__(self, seed: int) -> None:
        self._draw = random.Random(seed)
        self._kinds: list[Callable[[], Any]] = [
            lambda: None,
            lambda: self._draw.choice([True, False]),
            lambda: self._draw.choice([0, -1, 2**31, 2**63, 2**64, -(2**70), 10**350]),
            lambda: self._draw.choice([0.5, -0.0, 1e308, float("nan"), float("inf")]),
            self.text,
            lambda: nested(self._draw.choice([1, 50, 99, 101, 254, 900, 1000, 4000]), self.text()),
            lambda: [self.value() for _ in range(self._draw.randint(0, 3))],
            lambda: {self.text(): self.value() for _ in range(self._draw.randint(0, 3))},
            lambda: {"text": self.text(), "model": self.text()},
        ]

    def text(self) -> str:
        """A text, odd more often than not."""
        return self._draw.choice(
            [
                "",
                " ",
                "hello",
                SURROGATE,
                f"{SURROGATE}\udc00 half {SURROGATE}",
                "\x00",
                "a\x00b\x1b[31m",
                "\u202egnp.exe",
                "\ufeff\u200b",
                "$where",
                "a.b.$c",
                "x" * 300,
                "pending",
                "echo",
                "../../etc",
                "%2e%2e",
                "٣",
                "\U0001f4a9" * 5,
            ]
        )

    def value(self) -> Any:
        """A JSON value, or what a tolerant reader makes of one."""
        return self._draw.choice(self._kinds)()

    def entry(self, number: int) -> object:
        """An entry; most are a good one with some of its values replaced."""
        if self._draw.random() < 0.05:
            return self.value()
        entry: dict[str, Any] = {
            "id": f"t{number}",
            "type": "echo",
            "state": "pending",
            "data": {"text": f"text {number}"},
        }
        for _ in range(self._draw.randint(1, 4)):
            entry[self._draw.choice(NAMES)] = self.value()
        if self._draw.random() < 0.1:
            entry[self.text()] = self.value()
        return entry
