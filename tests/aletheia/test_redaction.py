"""No form of a secret is left in a line."""

import base64
import json
import time
from urllib.parse import quote

import pytest

from aletheia.redaction import HIDDEN, MAX_SECRETS, Secrets

SECRET = "pä/ss+w0rd&\"q?'=="


def encode(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    "form",
    [
        SECRET,
        quote(SECRET, safe=""),
        quote(SECRET),
        json.dumps({"key": SECRET}),
        repr(SECRET),
        SECRET.encode().hex(),
        encode(SECRET),
        *(encode(f"{user}:{SECRET}") for user in ("a", "ab", "abc", "")),
        *(encode(f"{user}:{SECRET} and more") for user in ("a", "ab", "abc")),
        quote(encode(f"user:{SECRET}"), safe=""),
        base64.urlsafe_b64encode(f"ab:{SECRET}".encode()).decode(),
    ],
)
def test_no_form_of_a_secret_is_shown(form: str):
    secrets = Secrets()
    secrets.add(SECRET)
    shown = secrets.redact(f"answered {form}, and that was all")
    assert shown.startswith("answered ")
    assert shown.endswith(", and that was all")
    assert HIDDEN in shown
    # Only what stood around it may be left: a user, a colon, a few words.
    assert len(shown) < len("answered , and that was all") + len(HIDDEN) + 24


def test_what_lets_somebody_in_of_an_address_is_hidden_alone_too():
    secrets = Secrets()
    secrets.add("https://someone:hunter%40hunter@hooks.example/in?token=abcdef123456&v=2")
    header = base64.b64encode(b"someone:hunter@hunter").decode()
    for line in (f"Basic {header}", "hunter@hunter", "hunter%40hunter", "token=abcdef123456"):
        assert HIDDEN in secrets.redact(line)
    for line in ("hooks.example was asked", "someone was here", "v=2"):
        assert secrets.redact(line) == line


def test_what_is_too_short_hides_nothing():
    secrets = Secrets()
    secrets.add("the")
    secrets.add("")
    assert secrets.redact("the others") == "the others"


def test_many_secrets_make_a_line_no_slower_than_a_millisecond():
    secrets = Secrets()
    for number in range(2 * MAX_SECRETS):
        secrets.add(f"a-secret-of-{number:06}-and-more")
    line = "task 't1' failed: invalid_input: the input has no text " * 4
    began = time.perf_counter()
    for _ in range(100):
        secrets.redact(line)
    assert (time.perf_counter() - began) / 100 < 0.005
    assert secrets.redact(f"a-secret-of-{MAX_SECRETS:06}-and-more") == HIDDEN
