"""Files that are written from the code."""

import sys

import pytest

from deployments import serve
from deployments.generated import main


def test_what_is_up_to_date_passes_and_what_is_not_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "argv", ["generated", "--check"])
    main()
    other = serve.DOCUMENT.with_name("no-such-file.json")
    monkeypatch.setattr(serve, "DOCUMENT", other)
    with pytest.raises(SystemExit, match=r"out of date: docs/no-such-file\.json"):
        main()
    assert not other.exists()
