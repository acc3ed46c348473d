"""The page of the API, as a browser without a network gets it."""

import re

from tests.fakes.service import Client


async def read(client: Client, path: str) -> tuple[int, str, str]:
    async with client.session.get(path) as response:
        text = (await response.read()).decode(errors="replace")
        return response.status, response.headers["Content-Type"], text


async def test_the_page_and_all_that_it_loads_are_the_services_own(client: Client):
    status, kind, page = await read(client, "/docs")
    assert (status, kind.partition(";")[0]) == (200, "text/html")
    loaded = [found for found in re.findall(r'(?:src|href)="([^"]*)"', page) if found]
    loaded += re.findall(r"url: '([^']*)'", page)
    assert len(loaded) == 4
    for address in loaded:
        assert not re.match(r"[a-z]+:|/", address), address
        assert (await read(client, f"/{address}"))[0] == 200, address


async def test_it_may_load_nothing_from_elsewhere(client: Client):
    async with client.session.get("/docs") as response:
        policy = response.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'self'")
    assert "http" not in policy


async def test_nothing_but_its_files_is_served(client: Client):
    for path in ("/docs-assets/", "/docs-assets/../core.py", "/docs-assets/%2e%2e/core.py"):
        assert (await read(client, path))[0] == 404
