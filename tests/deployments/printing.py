"""What a command prints."""

from collections.abc import Callable

import pytest

from deployments.console import console


def printed(show: Callable[[], object], width: int = 200) -> str:
    """Return what a function prints on a console of this width."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", str(width))
        with console.capture() as captured:
            show()
    return captured.get()
