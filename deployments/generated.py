"""Files of the repository that are written from the code."""

import sys
from collections.abc import Mapping
from pathlib import Path

from deployments import ROOT


def write_or_check(texts: Mapping[Path, str], command: str) -> None:
    """Write files; with `--check` exit with an error where one is out of date."""
    is_check = "--check" in sys.argv[1:]
    for path, text in texts.items():
        shown = path.relative_to(ROOT)
        if not is_check:
            path.write_text(text)
            print(f"wrote {shown}")
        elif not path.exists() or path.read_text() != text:
            sys.exit(f"out of date: {shown}; run `{command}`")
