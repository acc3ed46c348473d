"""Gets the files that tasks name, from https, `data:` URIs and one directory (SPEC §3).

Whoever sends a task names its file, so an address is checked, and pinned at connect, by the guard
of webhooks (`aletheia.adapters.addresses`), and that of every redirect anew. What comes is bounded
while it is read: its bytes, its time, its type by its content, and how much it grows where it is
compressed. It is kept in a file without a name, which is gone with its context or this process.
"""

import asyncio
import os
import ssl
from collections.abc import AsyncGenerator, Collection
from contextlib import asynccontextmanager
from functools import partial
from http import HTTPStatus
from typing import Final

import aiohttp
from aiohttp.abc import AbstractResolver
from yarl import URL

from aletheia.adapters.addresses import (
    NOT_PUBLIC,
    AddressGuard,
    find_secrets,
    is_refusal,
    make_connector,
    redact,
)
from aletheia.adapters.files.data_uri import SCHEME, SHOWN, read_data_uri
from aletheia.adapters.files.directory import SETTING, open_below, split_path
from aletheia.adapters.files.inflating import Inflation
from aletheia.adapters.files.spool import Spool
from aletheia.adapters.http import HttpClient
from aletheia.adapters.http_answers import Answer
from aletheia.analysis.file_settings import FileSettings
from aletheia.analysis.file_types import ANY_TYPE, FileType
from aletheia.analysis.ports import FetchedFile
from aletheia.errors import ComputeFailed, InvalidTask, TimedOut, Unavailable

ALLOWED_HOSTS: Final = "FILE_ALLOWED_HOSTS"

MAX_REDIRECTS: Final = 5

_DEPENDENCY: Final = "file"
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_MISSING: Final = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.GONE})
_PASSING: Final = frozenset(
    {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS}
)
_CHUNK: Final = 65_536
_FILE_SHOWN: Final = "the file"


class FileFetcher:
    """A `Fetcher`. Raises `Misconfigured`: what is allowed are not hosts."""

    def __init__(
        self,
        settings: FileSettings,
        *,
        resolver: AbstractResolver | None = None,  # in place of the system's
        ssl_context: ssl.SSLContext | None = None,  # whom we trust, in place of the system
    ) -> None:
        self._max_bytes = settings.max_file_bytes
        self._timeout_s = settings.file_timeout
        self._root = str(settings.files_dir.resolve()) if settings.files_dir else None
        self._guard = AddressGuard(ALLOWED_HOSTS, settings.allowed_hosts)
        self._allowed, self._public = (
            HttpClient(
                _DEPENDENCY,
                timeout_s=self._timeout_s,
                # Compression is ours to undo, if somebody compresses all the same.
                headers={"Accept": "*/*", "Accept-Encoding": "identity"},
                decompresses=False,
                make_connector=partial(
                    make_connector,
                    is_public_only=is_public_only,
                    resolver=resolver,
                    ssl_context=ssl_context,
                ),
            )
            for is_public_only in (False, True)
        )

    async def open(self) -> None:
        """Make ready to fetch. Idempotent."""
        await self._allowed.open()
        await self._public.open()

    async def close(self) -> None:
        """Close all connections. Idempotent."""
        await self._allowed.close()
        await self._public.close()

    def check(self, address: str) -> None:
        """See `aletheia.analysis.ports.Fetcher.check`."""
        if _has_scheme(address, SCHEME):
            return
        if "://" in address:
            self._check_url(address)
        else:
            self._check_path(address)

    @asynccontextmanager
    async def fetch(
        self,
        address: str,
        *,
        types: Collection[FileType] = ANY_TYPE,
        max_bytes: int | None = None,
    ) -> AsyncGenerator[FetchedFile]:
        """See `aletheia.analysis.ports.Fetcher.fetch`."""
        bound = min(self._max_bytes, max_bytes or self._max_bytes)
        is_data, is_url = _has_scheme(address, SCHEME), "://" in address
        shown = SHOWN if is_data else redact(address) if is_url else _FILE_SHOWN
        spool = Spool(types, max_bytes=bound, shown=shown)
        try:
            if is_data:
                for piece in read_data_uri(address, bound):
                    spool.write(piece)
            elif is_url:
                await self._download(address, spool)
            else:
                await self._copy(self._check_path(address), spool)
            yield spool.finish()
        finally:
            spool.close()

    def _check_path(self, address: str) -> tuple[str, ...]:
        if self._root is None:
            reason = f"no {SETTING} is set, so that a file is an https URL or a data: URI"
            raise InvalidTask("forbidden_address", reason)
        return split_path(address, self._root)

    def _check_url(self, address: str) -> tuple[URL, bool]:
        try:
            url, is_allowed = self._guard.check(address)
        except ValueError as error:
            is_public_fault = " is not public " in str(error) or "must be https" in str(error)
            code = "forbidden_address" if is_public_fault else "invalid_file"
            raise InvalidTask(code, f"the address of the file cannot be used: {error}") from None
        if url.user is not None or url.password is not None:
            reason = "the address of the file cannot be used: it holds a user name or a password"
            raise InvalidTask("invalid_file", reason)
        return url.with_fragment(None), is_allowed

    async def _copy(self, parts: tuple[str, ...], spool: Spool) -> None:
        """Copy a file of the directory: whoever owns it may change it while it is read."""
        assert self._root is not None
        await asyncio.to_thread(_copy_below, self._root, parts, spool)

    async def _download(self, address: str, spool: Spool) -> None:
        shown = redact(address)
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._follow(address, spool)
        except TimeoutError:
            raise _too_slow(shown, self._timeout_s) from None

    async def _follow(self, address: str, spool: Spool) -> None:
        """Download, however often it is redirected, each time to an address that is checked."""
        for _ in range(1 + MAX_REDIRECTS):
            url, is_allowed = self._check_url(address)
            shown = redact(address)
            client = self._allowed if is_allowed else self._public
            try:
                async with client.receive("GET", url, secrets=find_secrets(url)) as (answer, body):
                    if answer.status not in _REDIRECTS:
                        await _save_body(answer, body, spool, shown)
                        return
                    address = _read_location(url, answer, shown)
            except Unavailable as error:
                raise self._translate(error, shown) from None
        shown = redact(address)
        raise InvalidTask("file_refused", f"more than {MAX_REDIRECTS} redirects, now to {shown}")

    def _translate(self, error: Unavailable, shown: str) -> InvalidTask | ComputeFailed:
        if is_refusal(error.__cause__):
            reason = f"{shown}: {NOT_PUBLIC}, and not in {ALLOWED_HOSTS}"
            return InvalidTask("forbidden_address", reason)
        if isinstance(error, TimedOut):
            return _too_slow(shown, self._timeout_s)
        return ComputeFailed("file_unavailable", f"{shown}: {error.reason}")


async def _save_body(answer: Answer, body: aiohttp.StreamReader, spool: Spool, shown: str) -> None:
    """Write the body of a success to the spool; raise what any other answer means."""
    if answer.status != HTTPStatus.OK:
        raise _make_error(answer, shown)
    length = answer.headers.get("Content-Length", "")
    if length.isdecimal():
        spool.check_size(int(length[:20]))
    inflation = Inflation(answer.headers.get("Content-Encoding", ""), shown)
    while chunk := await body.readany():
        for start in range(0, len(chunk), _CHUNK):
            for piece in inflation.feed(chunk[start : start + _CHUNK]):
                spool.write(piece)
        spool.check_size(inflation.read_bytes)  # which may be nothing, however much is sent
    inflation.finish()


def _make_error(answer: Answer, shown: str) -> InvalidTask | ComputeFailed:
    """Build the error of an answer without a file; what it says is not ours to show."""
    reason = f"{shown} answers {answer.status}"
    if answer.status in _MISSING:
        return InvalidTask("file_not_found", reason)
    is_passing = answer.status in _PASSING or answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR
    if is_passing:
        failed = ComputeFailed("file_unavailable", reason)
        failed.retry_after_s = answer.retry_after_s
        return failed
    return InvalidTask("file_refused", reason)


def _read_location(url: URL, answer: Answer, shown: str) -> str:
    """Return where a redirect leads; it is checked as any address is."""
    location = answer.headers.get("Location", "")
    try:
        return str(url.join(URL(location))) if location else _no_location(shown)
    except ValueError:
        return _no_location(shown)


def _no_location(shown: str) -> str:
    raise InvalidTask("file_refused", f"{shown} redirects to nowhere")


def _copy_below(root: str, parts: tuple[str, ...], spool: Spool) -> None:
    """Copy a file, in a thread, which nobody can end: what it opens is closed by it alone."""
    descriptor = open_below(root, parts)
    try:
        spool.check_size(os.fstat(descriptor).st_size)
        _copy_all(descriptor, spool)
    finally:
        os.close(descriptor)


def _copy_all(descriptor: int, spool: Spool) -> None:
    try:
        while chunk := os.read(descriptor, _CHUNK):
            spool.write(chunk)
    except OSError as error:
        reason = f"{_FILE_SHOWN} cannot be read: {error.strerror}"
        raise ComputeFailed("file_unavailable", reason) from error


def _has_scheme(address: str, scheme: str) -> bool:
    return address[: len(scheme)].lower() == scheme


def _too_slow(shown: str, timeout_s: float) -> ComputeFailed:
    return ComputeFailed("file_too_slow", f"{shown} was not there after {timeout_s:g} s")
