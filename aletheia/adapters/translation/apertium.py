"""Translates by the pairs of Apertium that the system has installed, through its own program."""

import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Final

from aletheia.adapters.decoding.pieces import Piece, read_all
from aletheia.errors import ComputeFailed

MODES: Final = Path("../share/apertium/modes")
"""Where the pairs are, from the directory of the program."""

_CODES: Final[Mapping[str, str]] = {
    "eng": "en",
    "en": "en",
    "spa": "es",
    "es": "es",
    "por": "pt",
    "pt": "pt",
    "cat": "ca",
    "ca": "ca",
    "fra": "fr",
    "fr": "fr",
    "ita": "it",
    "it": "it",
    "glg": "gl",
    "gl": "gl",
    "ron": "ro",
    "ro": "ro",
    "eus": "eu",
    "eu": "eu",
    "epo": "eo",
    "eo": "eo",
    "swe": "sv",
    "nor": "no",
    "nob": "nb",
    "nno": "nn",
    "dan": "da",
    "isl": "is",
    "nld": "nl",
    "afr": "af",
    "rus": "ru",
    "ukr": "uk",
    "bel": "be",
    "bul": "bg",
    "mkd": "mk",
    "slv": "sl",
    "hin": "hi",
    "urd": "ur",
    "ind": "id",
    "zlm": "ms",
    "cym": "cy",
    "cy": "cy",
    "arg": "an",
    "oci": "oc",
    "bre": "br",
    "br": "br",
    "pol": "pl",
    "ara": "ar",
    "mlt": "mt",
    "srd": "sc",
    "tur": "tr",
}
"""ISO 639-1 by what Apertium names languages."""

_MAX_BYTES: Final = 4_000_000
_MAX_SAID: Final = 200
_MODE: Final = re.compile(r"([a-z]{2,3})-([a-z]{2,3})")


def find_modes(program: Path) -> Mapping[tuple[str, str], str]:
    """Return the modes that translate, by their languages; variants of a language are left out."""
    found: dict[tuple[str, str], str] = {}
    for path in sorted((program.resolve().parent / MODES).glob("*.mode")):
        named = _MODE.fullmatch(path.stem)
        if named is None:
            continue
        source, target = (_CODES.get(name) for name in named.groups())
        if source and target:
            found[source, target] = path.stem
    return found


@cache
def package_version(program: Path) -> str:
    """Return the version of Apertium; empty where it does not say one."""
    try:
        ran = subprocess.run(  # noqa: S603 - found on the path of this process
            [program, "-V"], capture_output=True, timeout=5, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    version = re.search(rb"\d+(?:\.\d+)+", ran.stdout + ran.stderr)
    return version[0].decode() if version else ""


def translate(files: Sequence[int], *, program: str, mode: str) -> Iterator[Piece]:
    """Yield the text of a file in the language that a mode translates to; its breaks stay.

    Raises:
        ComputeFailed: `engine_failed`.
    """
    data = read_all(files[0], _MAX_BYTES)
    # Its processes are in this one's group, and end with it.
    ran = subprocess.run(  # noqa: S603 - neither of the two is from a task
        [program, "-u", mode], input=data, capture_output=True, check=False
    )
    if ran.returncode or (data.strip() and not ran.stdout.strip()):
        said = ran.stderr.decode("utf-8", "replace").strip()[:_MAX_SAID]
        raise ComputeFailed("engine_failed", f"apertium ended with {ran.returncode}: {said}")
    yield {"text": ran.stdout.decode("utf-8", "replace")}
