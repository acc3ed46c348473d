"""A real browser without a window: the system's Chromium, steered by what npm offers.

`install_browser.sh` installs the latter; the former is the system's own.
"""

import asyncio
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

LIBRARY: Final = (
    Path(__file__).parents[2] / ".services" / "browser" / "node_modules" / "playwright-core"
)
SCRIPT: Final = Path(__file__).with_name("browser.mjs")

MISSING: Final = "no browser: run `make services`, and install chromium and node"
"""Why tests are skipped where one of them is not installed."""

TIMEOUT_S: Final = 120.0

Step = tuple[str, Any]
"""An action of `browser.mjs` and its argument."""


@dataclass(frozen=True)
class Seen:
    """What the browser saw.

    Attributes:
        failed: the step that did not work, and the page it was on; `None` if all did.
        outside: addresses of other hosts that were asked.
        errors: what the page's console complained about.
        overflow: by how many pixels the page was wider than its window, at each `measure`.
        title: the title of the last page.
        address: where that is.
        cookies: the cookies, without their values.
    """

    failed: str | None
    outside: list[str]
    errors: list[str]
    overflow: list[int]
    title: str
    address: str
    cookies: list[dict[str, Any]]


def find_browser() -> Path | None:
    """Return the browser; `None` where it, or what steers it, is missing."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None or shutil.which("node") is None or not LIBRARY.exists():
        return None
    return Path(found)


async def browse(
    url: str,
    steps: Sequence[Step],
    *,
    size: tuple[int, int] = (1440, 900),
    scheme: str = "light",
    cookie: dict[str, str] | None = None,
) -> Seen:
    """Do things one after the other in a browser of its own; return what was seen."""
    order = {
        "library": str(LIBRARY),
        "program": str(find_browser()),
        "url": url,
        "cookie": cookie,
        "width": size[0],
        "height": size[1],
        "scheme": scheme,
        "steps": steps,
    }
    process = await asyncio.create_subprocess_exec(
        "node",
        SCRIPT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(TIMEOUT_S):
            said, complaint = await process.communicate(json.dumps(order).encode())
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert said, complaint.decode()
    return Seen(**json.loads(said))
