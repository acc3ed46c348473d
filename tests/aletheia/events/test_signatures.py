import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aletheia.events.signatures import WINDOW_S, is_signed, is_timely, sign

SECRET = "a-secret"
NOW = 1_800_000_000.0


@given(st.binary(max_size=100), st.integers(0, 2**40))
def test_what_is_signed_is_told_from_what_is_not(body: bytes, at: int):
    signature = sign(SECRET, str(at), body)
    assert is_signed(SECRET, str(at), body, signature)
    assert is_signed(SECRET, str(at), body, f" {signature.upper()} ".replace("SHA", "sha"))
    assert not is_signed("another", str(at), body, signature)
    assert not is_signed(SECRET, str(at + 1), body, signature)
    assert not is_signed(SECRET, str(at), body + b"x", signature)


def test_it_is_the_hmac_of_time_dot_body():
    expected = hmac.new(SECRET.encode(), b"17.body", hashlib.sha256).hexdigest()
    assert sign(SECRET, "17", b"body") == f"sha256={expected}"


@pytest.mark.parametrize("signature", ["", "sha256=", "é", "\ud7ff", "sha256=" + "0" * 64])
def test_whatever_else_comes_is_no_signature(signature: str):
    assert not is_signed(SECRET, "17", b"body", signature)


@pytest.mark.parametrize("off", [0, 1, -1, WINDOW_S, -WINDOW_S])
def test_it_is_timely_within_the_window(off: int):
    assert is_timely(str(int(NOW) + off), NOW)


@pytest.mark.parametrize(
    "timestamp",
    ["", "now", "-1", "+1", "1e9", " 1", "1.5", "٣", "9" * 13, str(int(NOW) + WINDOW_S + 1)],
)
def test_what_is_no_time_or_another_is_not_timely(timestamp: str):
    assert not is_timely(timestamp, NOW)
