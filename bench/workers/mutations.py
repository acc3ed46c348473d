"""Documents that are damaged by chance: whatever is in them, each is read or has its code.

The damage is what bad discs, broken uploads and attackers do: flipped bits, a missing end, pieces
that are doubled, moved, exchanged or of another file, numbers at the edges of what fits, and within
Word documents the same for the XML, which is then packed again.
"""

import io
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Final

from aletheia.adapters.children.pool import Children
from aletheia.adapters.decoding.reader import ChildReader
from aletheia.analysis.file_settings import DecoderSettings
from aletheia.analysis.file_types import FileType
from aletheia.analysis.ports import DocumentType, FetchedFile, Page
from aletheia.errors import AletheiaError

READ: Final = "read"
"""What a file counts as that was read, perhaps without some of its pages."""

EXPECTED: Final = frozenset(
    {
        *(READ, "unreadable_document", "encrypted", "too_large", "decompression_bomb"),
        *("decoder_died", "too_slow"),
    }
)
"""Codes that a damaged file may have; any other is a fault of ours."""

EDGES: Final = (0, 1, -1, 127, 128, 255, 32_767, 65_535, 2**31 - 1, 2**31, 2**32 - 1, 10**12)

_MAX_PIECE: Final = 400
_WALL_S: Final = 20.0

Change = Callable[[bytearray, Random], None]


@dataclass(slots=True)
class Outcome:
    """What became of the damaged files of one type."""

    type: FileType
    files: int = 0
    codes: Counter[str] = field(default_factory=Counter[str])
    lost_pages: int = 0
    seconds: float = 0.0
    peak_bytes: int = 0  # of a child's address space, as far as one was there to be asked
    resident_bytes: int = 0  # the same of what was really in memory
    unexpected: dict[int, str] = field(default_factory=dict[int, str])  # by seed


def mutate(data: bytes, random: Random) -> bytes:
    """Return a file with one to four kinds of damage."""
    changed = bytearray(data)
    for _ in range(random.choice((1, 1, 2, 4))):
        random.choice(_CHANGES)(changed, random)
    return bytes(changed)


def mutate_document(type_: DocumentType, data: bytes, random: Random) -> bytes:
    """Return a damaged document: of a Word document every second time one of its parts."""
    if type_ == "docx" and random.random() < 0.5:
        return _mutate_part(data, random)
    return mutate(data, random)


async def run_mutations(
    samples: Mapping[DocumentType, bytes],
    type_: DocumentType,
    count: int,
    *,
    seed: int = 0,
    within_s: float = float("inf"),
    settings: DecoderSettings | None = None,
) -> Outcome:
    """Read up to `count` damaged files of a type, as many as come within a time.

    Raises:
        Exception: whatever is no error of ours, so that a worker would have ended.
    """
    settings = settings or DecoderSettings()
    outcome = Outcome(type_)
    children = Children(settings.decoder_memory_max)
    await children.open()
    reader = ChildReader(children, settings, wall_s=_WALL_S)
    began = time.monotonic()
    try:
        for number in range(seed, seed + count):
            if time.monotonic() - began > within_s:
                break
            damaged = mutate_document(type_, samples[type_], Random(number))
            code = await _read(reader, type_, damaged, outcome)
            outcome.codes[code] += 1
            outcome.files += 1
            if code not in EXPECTED:
                outcome.unexpected[number] = code
            measure(children, outcome)
    finally:
        await children.close()
    outcome.seconds = time.monotonic() - began
    return outcome


async def _read(reader: ChildReader, type_: DocumentType, data: bytes, outcome: Outcome) -> str:
    with tempfile.TemporaryFile() as opened:
        opened.write(data)
        opened.flush()
        file = FetchedFile(opened.fileno(), len(data), "", type_, "a damaged file")
        try:
            async with aclosing(reader.read(file, type_)) as pieces:
                async for piece in pieces:
                    outcome.lost_pages += isinstance(piece, Page) and bool(piece.fault)
        except AletheiaError as error:
            return error.code
    return READ


def measure(children: Children, outcome: Outcome) -> None:
    """Note the most memory that an idle child has ever had."""
    for pid in children.idle_pids:
        figures = dict(_read_status(pid))
        outcome.peak_bytes = max(outcome.peak_bytes, figures.get("VmPeak", 0))
        outcome.resident_bytes = max(outcome.resident_bytes, figures.get("VmHWM", 0))


def _read_status(pid: int) -> Iterator[tuple[str, int]]:
    try:
        lines = Path(f"/proc/{pid}/status").read_text("ascii", "replace").splitlines()
    except OSError:
        return
    for line in lines:
        name, _, value = line.partition(":")
        if name in ("VmPeak", "VmHWM"):
            yield name, int(value.split()[0]) * 1024


def _mutate_part(data: bytes, random: Random) -> bytes:
    """Damage one part of an archive, and pack all of them again."""
    out = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(data)) as old,
        zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as new,
    ):
        names = old.namelist()
        hit = random.choice(["word/document.xml", random.choice(names)])
        for name in names:
            part = old.read(name)
            # Under its own time: the time of packing would make it another file.
            entry = zipfile.ZipInfo(name, old.getinfo(name).date_time)
            damaged = mutate(part, random) if name == hit else part
            new.writestr(entry, damaged, zipfile.ZIP_DEFLATED)
    return out.getvalue()


def _place(data: bytearray, random: Random) -> tuple[int, int]:
    begin = random.randrange(len(data) + 1)
    return begin, min(len(data), begin + random.randrange(1, _MAX_PIECE))


def _flip(data: bytearray, random: Random) -> None:
    for _ in range(random.choice((1, 3, 30))):
        if data:
            data[random.randrange(len(data))] ^= 1 << random.randrange(8)


def _cut_end(data: bytearray, random: Random) -> None:
    del data[random.randrange(len(data) + 1) :]


def _drop(data: bytearray, random: Random) -> None:
    begin, end = _place(data, random)
    del data[begin:end]


def _double(data: bytearray, random: Random) -> None:
    begin, end = _place(data, random)
    data[begin:begin] = data[begin:end] * random.choice((1, 2, 50))


def _move(data: bytearray, random: Random) -> None:
    begin, end = _place(data, random)
    piece = data[begin:end]
    del data[begin:end]
    at = random.randrange(len(data) + 1)
    data[at:at] = piece


def _blank(data: bytearray, random: Random) -> None:
    begin, end = _place(data, random)
    data[begin:end] = random.choice((b"\0", b"\xff", b" ", b"<", b"(")) * (end - begin)


def _scatter(data: bytearray, random: Random) -> None:
    begin, end = _place(data, random)
    data[begin:end] = random.randbytes(end - begin)


def _write_number(data: bytearray, random: Random) -> None:
    """Exchange a number that is written in digits, or some bytes, for one at an edge."""
    edge = random.choice(EDGES)
    begin = random.randrange(len(data) + 1)
    while begin < len(data) and not 48 <= data[begin] <= 57:
        begin += 1
    end = begin
    while end < len(data) and 48 <= data[end] <= 57:
        end += 1
    if random.random() < 0.8:
        data[begin:end] = str(edge).encode()
    else:
        data[begin : begin + 4] = (edge % 2**32).to_bytes(4, random.choice(("big", "little")))


_CHANGES: Final[tuple[Change, ...]] = (
    *(_flip, _cut_end, _drop, _double, _move, _blank, _scatter, _write_number, _write_number),
)
