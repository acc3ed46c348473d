"""Texts that others wrote, on their way into a prompt."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Excerpt:
    """A text that others wrote, on its way into a prompt.

    `source`: where it is from, such as `item:65f…`, `brain:7` or `department:legal`.
    """

    source: str
    text: str
