"""Which addresses we connect to for somebody else."""

import asyncio
import threading

import aiohttp
import pytest
from yarl import URL

from aletheia.adapters.addresses import (
    MAX_URL,
    AddressGuard,
    Lookups,
    find_secrets,
    is_address,
    is_public,
    is_refusal,
    make_connector,
    normalise_host,
    redact,
)
from aletheia.errors import Misconfigured


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.255.255.254",
        "0.0.0.0",
        "10.0.0.1",
        "172.16.0.1",
        "172.31.255.255",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "100.127.255.255",
        "192.0.0.8",
        "192.0.2.1",
        "192.88.99.1",
        "198.18.0.1",
        "198.51.100.1",
        "203.0.113.1",
        "224.0.0.1",
        "239.255.255.255",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::ffff:127.0.0.1",
        "::ffff:8.8.8.8",
        "::127.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b:1::1",
        "100::1",
        "2001::1",
        "2001:db8::1",
        "2002:7f00:1::",
        "3fff::1",
        "fc00::1",
        "fd12:3456::1",
        "fe80::1",
        "fe80::1%lo",
        "2606:4700::1%lo",
        "fec0::1",
        "ff02::1",
        "168.63.129.16",
        "100.100.100.200",
        "192.0.0.192",
        "fd00:ec2::254",
        "2606:4700::5efe:127.0.0.1",
        "2606:4700::200:5efe:10.0.0.1",
        "5f00::1",
        "localhost",
        "",
    ],
)
def test_addresses_that_not_everybody_has_are_not_public(address: str):
    assert not is_public(address)


@pytest.mark.parametrize(
    "address",
    ["8.8.8.8", "93.184.215.14", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "2a00:1450::1"],
)
def test_addresses_that_everybody_has_are_public(address: str):
    assert is_public(address)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (
            "https://user:pa55@example.com:8443/services/T0/tok?key=1#x",
            "https://example.com:8443/…",
        ),
        ("https://example.com", "https://example.com/…"),
        ("not a url", "…"),
        ("https://h:99999/tok", "…"),
    ],
)
def test_of_an_address_only_the_host_is_shown(url: str, shown: str):
    assert redact(url) == shown


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "::1", "2130706433", "0x7f.1", "0177.1", "a.1", "name.0x7f", "1.2.3.4"]
)
def test_a_host_that_ends_in_a_number_is_an_address(host: str):
    assert is_address(host)


@pytest.mark.parametrize("host", ["example.com", "1.example", "x1", "a-1.b", "0x7f.example"])
def test_a_host_that_ends_in_letters_is_a_name(host: str):
    assert not is_address(host)


@pytest.mark.parametrize(
    ("written", "host"),
    [
        (" Example.COM. ", "example.com"),
        ("b\u00fccher.example", "xn--bcher-kva.example"),
        ("[::1]", "::1"),
        ("", ""),
    ],
)
def test_hosts_are_compared_in_one_form(written: str, host: str):
    assert normalise_host(written) == host


def test_an_allowed_host_may_be_private_and_plain_in_whatever_form_it_is_written():
    guard = AddressGuard("HOSTS", ["Files.Internal.", "10.0.0.7"])
    assert guard.check("http://files.INTERNAL:9000/a")[1]
    assert guard.check("http://10.0.0.7/a")[1]
    assert not guard.check("https://files.example/a")[1]


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("https://[", "not a URL"),
        ("http://files.example/a", "must be https"),
        ("https://10.0.0.8/a", "is not public"),
        ("https:///a", "a host"),
        ("https://files.example/" + "a" * MAX_URL, "longer"),
    ],
)
def test_why_an_address_cannot_be_used_is_said_without_its_path(address: str, why: str):
    with pytest.raises(ValueError, match=why) as refused:
        AddressGuard("HOSTS").check(address)
    assert "/a" not in str(refused.value)


def test_what_is_no_host_is_no_setting():
    with pytest.raises(Misconfigured, match="HOSTS"):
        AddressGuard("HOSTS", ["https://files.example"])


def test_every_part_of_an_address_that_may_be_a_secret_is_found():
    found = find_secrets(URL("https://user:pa55word@h.example/tok%20en/x?key=qu3ry"))
    assert {"user", "pa55word", "tok en", "tok%20en", "qu3ry", "key=qu3ry"} <= set(found)
    assert "x" not in found
    assert [len(secret) for secret in found] == sorted(map(len, found), reverse=True)


async def test_lookups_that_hang_leave_the_threads_of_all_others_alone():
    answered = threading.Event()

    def hang(host: str, port: int) -> list[object]:
        del host, port
        answered.wait(10)
        return []

    asked = [asyncio.create_task(Lookups(hang).getaddrinfo("a.example", 1)) for _ in range(64)]
    await asyncio.sleep(0.05)
    async with asyncio.timeout(2):
        assert await asyncio.to_thread(lambda: 1) == 1
    answered.set()
    assert await asyncio.gather(*asked) == [[]] * 64


async def test_the_systems_answer_is_checked():
    connector = make_connector(is_public_only=True)
    async with aiohttp.ClientSession(connector=connector) as session:
        with pytest.raises(aiohttp.ClientConnectorError) as refused:
            await session.get("http://localhost:1/")
    assert is_refusal(refused.value)
