"""Files and documents that are there without a server or a child."""

import tempfile
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from hashlib import sha256

from aletheia.analysis.file_types import ANY_TYPE, FileType, find_type, is_readable_as
from aletheia.analysis.ports import DocumentHead, FetchedFile, Page
from aletheia.errors import AletheiaError, InvalidTask


class FakeFetcher:
    """Fetches files by their address from what it was given; `open_now` are those in use."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self._files = files
        self.open_now = 0
        self.fetched: list[str] = []

    def check(self, address: str) -> None:
        """Refuse an address with a blank in it."""
        if " " in address:
            raise InvalidTask("invalid_file", "an address has no blank")

    @asynccontextmanager
    async def fetch(
        self,
        address: str,
        *,
        types: Collection[FileType] = ANY_TYPE,
        max_bytes: int | None = None,
    ) -> AsyncGenerator[FetchedFile]:
        """Open a file, as the real one does."""
        self.check(address)
        if address not in self._files:
            raise InvalidTask("file_not_found", "no such file")
        data = self._files[address]
        if max_bytes is not None and len(data) > max_bytes:
            raise InvalidTask("too_large", "too large")
        found = find_type(data[:4096], data[-65_536:])
        if not is_readable_as(found, types):
            raise InvalidTask("wrong_type", f"it is {found}")
        self.fetched.append(address)
        self.open_now += 1
        with tempfile.TemporaryFile() as file:
            file.write(data)
            file.flush()
            hashed = sha256(data).hexdigest()
            yield FetchedFile(file.fileno(), len(data), hashed, found, "a file")
        self.open_now -= 1


class ScriptedReader:
    """Yields pages that were set, and errors between them; `first_pages` are those asked for."""

    def __init__(self, head: DocumentHead, pages: Sequence[Page | AletheiaError]) -> None:
        self._head, self._pages = head, pages
        self.first_pages: list[int] = []

    async def read(
        self, file: FetchedFile, type_: FileType, *, first_page: int = 1
    ) -> AsyncGenerator[DocumentHead | Page]:
        """Yield what was set, from a page on; an error is raised once."""
        assert file.descriptor > 0
        assert type_
        self.first_pages.append(first_page)
        yield self._head
        for place, page in enumerate(self._pages):
            if isinstance(page, AletheiaError):
                self._pages = [*self._pages[:place], *self._pages[place + 1 :]]
                raise page
            if page.number >= first_page:
                yield page


class ScriptedRecogniser:
    """Recognises on each page what was set for it, and then fails if told so."""

    def __init__(self, texts: Mapping[int, str], error: AletheiaError | None = None) -> None:
        self._texts, self._error = texts, error
        self.asked: list[int] = []

    async def recognise(self, file: FetchedFile, numbers: Sequence[int]) -> AsyncGenerator[Page]:
        """Yield pages in the order that was asked for."""
        assert file.descriptor > 0
        self.asked += numbers
        for number in numbers:
            if number in self._texts:
                yield Page(number, self._texts[number], is_scanned=True)
        if self._error is not None:
            raise self._error


class MemoryCache:
    """Saves values in memory."""

    def __init__(self) -> None:
        self.saved: dict[tuple[object, ...], object] = {}

    async def get(self, *made_from: object) -> object | None:
        """Return what was saved."""
        return self.saved.get(made_from)

    async def put(self, value: object, *made_from: object) -> None:
        """Save a value."""
        self.saved[made_from] = value
