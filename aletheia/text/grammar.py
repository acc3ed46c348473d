"""Sentences with a count in them: what stands beside it agrees with it in number."""

import re
from typing import Final

_FORMS: Final = re.compile(r"\[([^\[\]|]*)\|([^\[\]|]*)\]")


def agree(text: str, count: float) -> str:
    """Return a text in which `[one|many]` is what goes with a count; many goes with 0 and 1.5.

    Anything else in brackets stays as it is. Names are put in afterwards, since they may hold
    brackets of their own.
    """
    return _FORMS.sub(r"\1" if count == 1 else r"\2", text)
