"""Files from addresses that nobody is trusted with."""

import asyncio
import gzip
import hashlib
import os
import socket
import ssl
import time
import zlib
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from aletheia.adapters.files.fetcher import MAX_REDIRECTS, FileFetcher
from aletheia.analysis.file_settings import FileSettings
from aletheia.analysis.file_types import FileType
from aletheia.errors import AletheiaError, ComputeFailed, InvalidTask, Misconfigured
from tests.fakes.file_server import FileServer, serve_files
from tests.fakes.hosts import FakeResolver, make_certificate
from tests.fakes.samples import make_docx, make_pdf, make_text

TEXT = make_text()
INNER = "files.example.test"
"""A host that is allowed by name, and that the resolver says is here."""

REFUSED = {"invalid_file", "forbidden_address"}

NUMBERS = (
    *("127.0.0.1", "127.1", "127.0.1", "2130706433", "0x7f000001", "0x7f.0.0.1", "0x7f.1"),
    *("0177.0.0.1", "017700000001", "00000177.0.0.1", "127.000.000.001", "127.0.0.1.", "0"),
    *("0.0.0.0", "127.255.255.254", "10.0.0.1", "172.16.0.1", "192.168.0.1", "100.64.0.1"),
    *("169.254.169.254", "169.254.170.2", "100.100.100.200", "168.63.129.16", "192.0.0.192"),
    *("198.18.0.1", "192.0.2.1", "224.0.0.1", "240.0.0.1", "255.255.255.255", "3232235521"),
    *("\uff11\uff12\uff17.0.0.1", "127\u30020\u30020\u30021", "\u2460\u2461\u2466.0.0.1"),
    *("%31%32%37.0.0.1", "127.0.0.0x1", "0x7f.0x0.0x0.0x1", "4294967295", "-1.0.0.1"),
)
SIXES = (
    *("::1", "::", "::ffff:127.0.0.1", "::ffff:7f00:1", "0:0:0:0:0:ffff:7f00:1", "::127.0.0.1"),
    *("::ffff:0:127.0.0.1", "64:ff9b::7f00:1", "64:ff9b::127.0.0.1", "64:ff9b:1::7f00:1"),
    *("2002:7f00:1::", "2001::1", "fe80::1", "fe80::1%25lo", "fec0::1", "fc00::1"),
    *("fd00:ec2::254", "ff02::1", "100::1", "2606:4700::5efe:7f00:1", "::ffff:8.8.8.8"),
)
NAMES = (
    *("localhost", "localhost.", "LOCALHOST", "sub.localhost", "127.0.0.1.nip.example"),
    *("\u24db\u24de\u24d2\u24d0\u24db\u24d7\u24de\u24e2\u24e3"),
    *("metadata.google.internal", "b\u00fccher.example", "xn--bcher-kva.example", "ip6-localhost"),
)
ODD = (
    *("https://127.0.0.1:{port}@files.example/", "https://files.example@127.0.0.1:{port}/file"),
    *("https://user:pa55@files.example:{port}/file", "https://files.example\\@127.0.0.1:{port}/"),
    *("https://127.0.0.1\t:{port}/file", "https://127.0.0.1\n:{port}/file", "https://:{port}/file"),
    *("https:127.0.0.1:{port}/file", "//127.0.0.1:{port}/file", "https:///127.0.0.1:{port}/file"),
    *("https://#@127.0.0.1:{port}/file", "https://?@127.0.0.1:{port}/file", "https://[::1:{port}/"),
    *("http://files.example:{port}/file", "HTTP://FILES.EXAMPLE:{port}/file", "https://h:99999/"),
    *("ftp://127.0.0.1:{port}/file", "gopher://127.0.0.1:{port}/_", "file:///etc/passwd"),
    *("jar:https://127.0.0.1:{port}/!/", "unix:///run/docker.sock", " https://127.0.0.1:{port}/"),
    *(
        "https://loc\u00adalhost:{port}/file",
        "",
        " ",
        "\x00",
        "https://",
        "https://files.example/" + "a" * 3000,
    ),
)


@asynccontextmanager
async def fetcher(**options: Any) -> AsyncGenerator[FileFetcher]:
    more = {name: options.pop(name) for name in ("resolver", "ssl_context") if name in options}
    given: dict[str, Any] = {"file_allowed_hosts": "127.0.0.1", "file_timeout": 5.0, **options}
    settings = FileSettings(**given)
    opened = FileFetcher(settings, **more)
    await opened.open()
    try:
        yield opened
    finally:
        await opened.close()


@pytest.fixture
async def server() -> AsyncGenerator[FileServer]:
    async with serve_files() as files:
        yield files


@pytest.fixture
async def canary() -> AsyncGenerator[FileServer]:
    """What listens on this machine, and must never hear of anything."""
    async with serve_files() as files:
        files.set(TEXT)
        yield files


async def read(address: str, *types: FileType, **options: Any) -> bytes:
    async with (
        fetcher(**options) as opened,
        opened.fetch(address, types=types or ("text",)) as file,
    ):
        return file.path.read_bytes()


async def refusal(address: str, *types: FileType, **options: Any) -> AletheiaError:
    with pytest.raises((InvalidTask, ComputeFailed)) as refused:
        await read(address, *types, **options)
    return refused.value


def count_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_there_are_more_than_eighty_hostile_addresses():
    assert len({*NUMBERS, *SIXES, *NAMES, *ODD}) >= 80


@pytest.mark.parametrize("host", [*NUMBERS, *(f"[{host}]" for host in SIXES)])
async def test_an_address_of_this_machine_or_its_network_gets_no_connection(
    canary: FileServer, host: str
):
    resolver = FakeResolver(["127.0.0.1"])
    address = f"https://{host}:{canary.port}/file"
    error = await refusal(address, file_allowed_hosts="", resolver=resolver)
    assert error.code in REFUSED
    assert canary.connections == 0
    assert resolver.asked == []


@pytest.mark.parametrize(
    "answer",
    [
        ["127.0.0.1"],
        ["::1"],
        ["::ffff:127.0.0.1"],
        ["64:ff9b::7f00:1"],
        ["8.8.8.8", "127.0.0.1"],
        ["169.254.169.254"],
        ["0.0.0.0"],
    ],
    ids=",".join,
)
@pytest.mark.parametrize("name", NAMES)
async def test_a_name_of_this_machine_gets_no_connection(
    canary: FileServer, name: str, answer: list[str]
):
    resolver = FakeResolver(answer)
    address = f"https://{name}:{canary.port}/file"
    error = await refusal(address, file_allowed_hosts="", resolver=resolver)
    assert error.code == "forbidden_address"
    assert canary.connections == 0
    assert len(resolver.asked) == 1


@pytest.mark.parametrize("odd", ODD)
async def test_what_is_no_address_or_hides_one_gets_no_connection(canary: FileServer, odd: str):
    resolver = FakeResolver(["127.0.0.1"])
    address = odd.replace("{port}", str(canary.port))
    error = await refusal(address, file_allowed_hosts="", resolver=resolver)
    assert error.code in REFUSED
    assert canary.connections == 0
    async with fetcher(file_allowed_hosts="") as opened:
        with pytest.raises(InvalidTask):
            opened.check(address)


class Shifting(dict[str, Any]):
    """An answer of the DNS that says something else each time it is read."""

    def __init__(self, port: int, *hosts: str) -> None:
        super().__init__(port=port, family=socket.AF_INET)
        self.hosts = list(hosts)

    def __getitem__(self, name: str) -> Any:
        return self.hosts.pop(0) if name == "host" else super().__getitem__(name)


async def test_a_name_that_is_rebound_between_check_and_connection_gets_none(canary: FileServer):
    answer = Shifting(canary.port, "8.8.8.8", "127.0.0.1")

    class Rebinding(FakeResolver):
        async def resolve(self, host: str, port: int = 0, family: Any = 0) -> Any:
            del host, port, family
            return [answer]

    error = await refusal(
        canary.url(host="files.example").replace("http:", "https:"), resolver=Rebinding([])
    )
    assert error.code == "forbidden_address"
    assert answer.hosts == [], "it was read twice"
    assert canary.connections == 0


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize(
    "target",
    [
        "http://127.0.0.1:{port}/file",
        "https://127.0.0.1:{port}/file",
        "https://localhost:{port}/file",
        "https://[::1]:{port}/file",
        "https://2130706433:{port}/file",
        "//127.0.0.1:{port}/file",
        "https://user:pass@files.example.test:{port}/file",
        "file:///etc/passwd",
        "data:text/plain,hello",
        "ftp://127.0.0.1:{port}/file",
        "https://[",
    ],
)
async def test_a_redirect_is_checked_as_every_address_is(
    server: FileServer, canary: FileServer, target: str, status: int
):
    location = target.replace("{port}", str(canary.port))
    server.set(b"", status=f"{status} Moved", headers=(f"Location: {location}",))
    resolver = FakeResolver(["127.0.0.1"])
    error = await refusal(server.url(host=INNER), file_allowed_hosts=INNER, resolver=resolver)
    assert error.code in {*REFUSED, "file_refused"}
    assert len(server.requests) == 1
    assert canary.connections == 0


async def test_redirects_are_followed_a_few_times_and_anew_each_time(server: FileServer):
    for number in range(MAX_REDIRECTS):
        moved = (f"Location: {number + 1}?a=b#c",)
        server.set(b"", f"/{number}?a=b", status="302 Found", headers=moved)
    server.set(TEXT, f"/{MAX_REDIRECTS}?a=b")
    assert await read(server.url("/0?a=b")) == TEXT
    assert server.connections == MAX_REDIRECTS + 1
    server.set(b"", "/loop", status="302 Found", headers=("Location: /loop",))
    server.requests.clear()
    assert (await refusal(server.url("/loop"))).code == "file_refused"
    assert len(server.requests) == MAX_REDIRECTS + 1
    server.set(b"", "/nowhere", status="302 Found")
    assert (await refusal(server.url("/nowhere"))).code == "file_refused"


async def test_over_tls_the_name_is_checked_and_the_pinned_address_connected(tmp_path: Path):
    tls, trusting = make_certificate(tmp_path, INNER)
    names: list[str | None] = []
    tls.sni_callback = lambda _socket, name, _context: names.append(name)
    async with serve_files(tls=tls) as server:
        server.set(TEXT)
        resolver = FakeResolver(["127.0.0.1"], ["10.0.0.1"])
        options: dict[str, Any] = {"file_allowed_hosts": INNER, "resolver": resolver}
        assert await read(server.url(host=INNER), ssl_context=trusting, **options) == TEXT
        assert resolver.asked == [INNER]
        assert names == [INNER]
        assert f"Host: {INNER}:{server.port}" in server.requests[0]
        distrusting = ssl.create_default_context()
        options["resolver"] = FakeResolver(["127.0.0.1"])
        error = await refusal(server.url(host=INNER), ssl_context=distrusting, **options)
        assert error.code == "file_unavailable"
        assert len(server.requests) == 1


async def test_a_file_is_here_open_hashed_recognised_and_gone_afterwards(server: FileServer):
    pdf = make_pdf(["Hello"])
    async with fetcher() as opened:
        async with opened.fetch(server.set(pdf), types=("pdf",)) as file:
            assert file.path.read_bytes() == pdf
            assert os.pread(file.descriptor, 5, 0) == b"%PDF-"
            assert os.lseek(file.descriptor, 0, os.SEEK_CUR) == 0
            assert (file.type, file.media_type) == ("pdf", "application/pdf")
            assert file.size_bytes == len(pdf)
            assert file.content_hash == hashlib.sha256(pdf).hexdigest()
            assert os.fstat(file.descriptor).st_nlink == 0, "it has no name"
        with pytest.raises(OSError, match="Bad file"):
            os.fstat(file.descriptor)
    assert "Accept-Encoding: identity" in server.requests[0]


@pytest.mark.parametrize("fault", ["wrong_type", "raised", "cancelled", "too_large"])
async def test_nothing_of_a_file_stays_whatever_happens(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    before = count_descriptors()
    address = server.set(TEXT * 500)
    async with fetcher(max_file_bytes=len(TEXT) if fault == "too_large" else 10_000_000) as opened:
        types: tuple[FileType, ...] = ("pdf",) if fault == "wrong_type" else ("text",)

        async def use() -> None:
            async with opened.fetch(address, types=types):
                if fault == "cancelled":
                    await asyncio.sleep(60)
                raise ZeroDivisionError

        task = asyncio.create_task(use())
        await asyncio.sleep(0.2)
        task.cancel()
        with pytest.raises((InvalidTask, ZeroDivisionError, asyncio.CancelledError)):
            await task
    await asyncio.sleep(0.05)
    assert os.listdir(tmp_path) == []  # noqa: PTH208 - without a thread
    assert count_descriptors() <= before


@pytest.mark.parametrize(
    ("body", "types", "code"),
    [
        (b"", ("text",), "empty_file"),
        (make_pdf(["x"]), ("docx", "text"), "wrong_type"),
        (TEXT, ("pdf",), "wrong_type"),
        (b"MZ" + bytes(9000), ("pdf", "text"), "wrong_type"),
        (b"PK\x03\x04" + bytes(9000), ("docx",), "wrong_type"),
        (make_docx(), ("pdf",), "wrong_type"),
    ],
    ids=["empty", "pdf", "text", "program", "zip", "docx"],
)
async def test_a_type_goes_by_the_content_whatever_the_server_says(
    server: FileServer, body: bytes, types: tuple[FileType, ...], code: str
):
    address = server.set(body, headers=("Content-Type: application/pdf",))
    assert (await refusal(address, *types)).code == code


async def test_of_a_file_of_the_wrong_type_little_is_read(server: FileServer):
    server.answers["/file"] = [
        b"HTTP/1.1 200 OK\r\nContent-Length: 50000000\r\n\r\n" + b"%PDF-1.7 " * 10_000,
        60.0,
    ]
    began = time.monotonic()
    assert (await refusal(server.url(), "docx")).code == "wrong_type"
    assert time.monotonic() - began < 3


@pytest.mark.parametrize(
    ("status", "code", "retryable"),
    [
        ("404 Not Found", "file_not_found", False),
        ("410 Gone", "file_not_found", False),
        ("401 Unauthorized", "file_refused", False),
        ("403 Forbidden", "file_refused", False),
        ("206 Partial Content", "file_refused", False),
        ("429 Too Many Requests", "file_unavailable", True),
        ("500 Oops", "file_unavailable", True),
        ("503 Busy", "file_unavailable", True),
    ],
)
async def test_an_answer_without_a_file_has_its_code_and_its_words_are_not_repeated(
    server: FileServer, status: str, code: str, retryable: bool
):
    address = server.set(b"s3cret words", status=status, headers=("Retry-After: 7",))
    error = await refusal(address)
    assert (error.code, error.retryable) == (code, retryable)
    assert "s3cret" not in str(error)
    assert error.retry_after_s == (7 if retryable else None)


async def test_nobody_who_listens_is_to_be_tried_again():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}/"
    error = await refusal(address)
    assert (error.code, error.retryable) == ("file_unavailable", True)


HEAD = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ([HEAD + b"Content-Length: 20\r\n\r\n" + TEXT], "file_unavailable"),
        ([HEAD + b"Content-Length: 99999\r\n\r\n" + TEXT], "file_unavailable"),
        ([HEAD + b"Content-Length: 999999999\r\n\r\n" + TEXT], "too_large"),
        ([HEAD + b"Content-Length: 9" + b"9" * 3000 + b"\r\n\r\n" + TEXT], "any"),
        ([HEAD + b"Content-Length: -1\r\n\r\n" + TEXT], "file_unavailable"),
        ([HEAD + b"Content-Length: 5\r\nContent-Length: 9\r\n\r\n" + TEXT], "file_unavailable"),
        ([HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"zz\r\n" + TEXT], "file_unavailable"),
        ([HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhel"], "file_unavailable"),
        ([HEAD + b"X: y\r\n" * 20_000 + b"\r\n"], "file_unavailable"),
        ([b"220 smtp.example ESMTP\r\n"], "file_unavailable"),
        ([b""], "file_unavailable"),
        ([HEAD + b"\r\n", *[TEXT * 1000] * 100], "too_large"),
    ],
    ids=[
        *("says less", "says more", "says too much", "overflows", "negative", "two lengths"),
        *("no chunk", "half a chunk", "many headers", "no http", "nothing", "without end"),
    ],
)
async def test_lengths_that_lie_are_no_fault_of_ours(
    server: FileServer, answer: list[bytes | float], code: str
):
    server.answers["/file"] = answer
    error = await refusal(server.url(), max_file_bytes=5_000_000)
    assert code in (error.code, "any")


@pytest.mark.parametrize(
    "answer",
    [
        [60.0],
        [b"HTTP/1.1 200", 60.0],
        [HEAD + b"Content-Length: 1000\r\n\r\nabc", 60.0],
        [HEAD + b"Content-Length: 1000\r\n\r\n", *(b"x", 0.05) * 200],
    ],
    ids=["silent", "half a line", "half a body", "drips"],
)
async def test_a_slow_server_is_left_in_time(server: FileServer, answer: list[bytes | float]):
    server.answers["/file"] = answer
    began = time.monotonic()
    error = await refusal(server.url(), file_timeout=0.5)
    assert error.code == "file_too_slow"
    assert time.monotonic() - began < 4


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", "deflate", "raw deflate", "identity"])
async def test_a_body_that_is_compressed_all_the_same_is_read(server: FileServer, encoding: str):
    raw = zlib.compressobj(wbits=-15)
    packed = {
        "gzip": gzip.compress(TEXT),
        "x-gzip": gzip.compress(TEXT[:100]) + gzip.compress(TEXT[100:]),
        "deflate": zlib.compress(TEXT),
        "raw deflate": raw.compress(TEXT) + raw.flush(),
        "identity": TEXT,
    }[encoding]
    named = encoding.removeprefix("raw ")
    assert await read(server.set(packed, headers=(f"Content-Encoding: {named}",))) == TEXT


async def test_a_bomb_is_left_before_it_has_grown(server: FileServer):
    bomb = gzip.compress(b"a" * 200_000_000, 6)
    address = server.set(bomb, headers=("Content-Encoding: gzip",))
    error = await refusal(address, max_file_bytes=1_000_000_000)
    assert error.code == "decompression_bomb"


@pytest.mark.parametrize("padding", [bytes(65_536), gzip.compress(b"") * 3000])
async def test_a_body_that_goes_on_without_content_is_left(server: FileServer, padding: bytes):
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n" + gzip.compress(TEXT)
    server.answers["/file"] = [head, *[padding] * 2000]
    error = await refusal(server.url(), max_file_bytes=1_000_000)
    assert error.code == "too_large"


async def test_an_encoding_that_nobody_asked_for_is_refused(server: FileServer):
    error = await refusal(server.set(TEXT, headers=("Content-Encoding: br",)))
    assert error.code == "file_refused"


@pytest.mark.parametrize("fault", ["404 Not Found", "500 Oops", "hangs"])
async def test_no_error_shows_what_an_address_may_hold(server: FileServer, fault: str):
    path = "/t0ken-in-path?sig=t0ken-in-query"
    server.set(path.encode(), path, status=fault)
    if fault == "hangs":
        server.answers[path] = [60.0]
    error = await refusal(server.url(path), file_timeout=0.3)
    assert "t0ken" not in f"{error} {error!r}"
    assert f"http://127.0.0.1:{server.port}/" in str(error)


async def test_a_path_is_read_below_the_directory_and_nowhere_else(tmp_path: Path):
    root = tmp_path / "files"
    (root / "in").mkdir(parents=True)
    (root / "in" / "a.txt").write_bytes(TEXT)
    (tmp_path / "secret.txt").write_bytes(b"secret")
    assert await read("in/a.txt", files_dir=root) == TEXT
    assert await read(str(root / "in" / "a.txt"), files_dir=root) == TEXT
    for path in ("../secret.txt", "in/../../secret.txt", str(tmp_path / "secret.txt")):
        assert (await refusal(path, files_dir=root)).code == "forbidden_address"
    assert (await refusal("in/a.txt")).code == "forbidden_address"
    assert (await refusal("in/b.txt", files_dir=root)).code == "file_not_found"
    assert (await refusal("in/a.txt", files_dir=root, max_file_bytes=10)).code == "too_large"


async def test_a_copy_that_is_cancelled_reads_nothing_of_anybody_else(tmp_path: Path):
    with (tmp_path / "large.txt").open("wb") as large:
        large.write(TEXT * 10)
        large.truncate(400_000_000)
    (tmp_path / "other.txt").write_bytes(TEXT * 100)
    before = count_descriptors()
    others: list[int] = []
    async with fetcher(files_dir=tmp_path, max_file_bytes=500_000_000) as opened:

        async def use() -> None:
            async with opened.fetch("large.txt", types=("text", "unknown")):
                raise AssertionError("it should not be whole yet")

        task = asyncio.create_task(use())
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        # By now the number of the file that was copied is free, if it was closed.
        others += [os.open(tmp_path / "other.txt", os.O_RDONLY) for _ in range(20)]
        await asyncio.sleep(0.3)
    assert [os.lseek(other, 0, os.SEEK_CUR) for other in others] == [0] * 20
    for other in others:
        os.close(other)
    assert count_descriptors() <= before


async def test_a_data_uri_is_read():
    assert await read("data:text/plain;base64,SGVsbG8gd29ybGQ=") == b"Hello world"
    assert await read("DATA:,Hello%20world") == b"Hello world"
    assert (await refusal("data:,hello", max_file_bytes=3)).code == "too_large"


def test_hosts_that_are_none_are_found_out_at_once():
    with pytest.raises(Misconfigured, match="FILE_ALLOWED_HOSTS"):
        FileFetcher(FileSettings(file_allowed_hosts="https://a.example"))
