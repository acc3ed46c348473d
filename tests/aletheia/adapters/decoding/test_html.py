"""Web pages."""

import time

import pytest

from aletheia.adapters.decoding.html import read_html
from aletheia.errors import InvalidTask
from tests.aletheia.adapters.decoding.conftest import Decode
from tests.fakes.samples import make_html, sentences


def text_of(decode: Decode, html: str | bytes) -> str:
    data = html.encode() if isinstance(html, str) else html
    return "\n\n".join(page["text"] for page in decode(read_html, data)[1])


def test_what_a_reader_sees_is_read_block_by_block(decode: Decode):
    head, pages = decode(read_html, make_html())
    assert pages[0]["text"] == f"{sentences(3)}\n\n{sentences(3, 3)}"
    assert head["metadata"] == {"title": "Harbour report", "author": "A. Tester", "language": "en"}


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<p>a <b>b</b>c<p>d", "a bc\n\nd"),
        ("<p>a<br>b", "a\nb"),
        ("<ul><li>a<li>b</ul>c", "a\n\nb\n\nc"),
        ("<table><tr><td>a<td>b<tr><td>c</table>", "a | b\n\nc"),
        ("<pre>a\n  b</pre>", "a\nb"),
        ("a&nbsp;b &amp; &#x63; &lt;d&gt;", "a\u00a0b & c <d>"),
        ("<p>yes<script>no()</script><style>no</style><noscript>no</noscript>", "yes"),
        ("<p hidden>no</p><p aria-hidden=true>no</p><template>no</template>yes", "yes"),
        ("<nav>no</nav><header>no</header><p>yes</p><footer>no</footer>", "yes"),
        ("<!-- no --><p>yes<!-- no --></p>", "yes"),
        ("<svg><text>no</text></svg><iframe src=x>no</iframe>yes", "yes"),
        ("no tags at all", "no tags at all"),
    ],
)
def test_what_is_text_and_what_is_not(decode: Decode, html: str, text: str):
    assert text_of(decode, html) == text


def test_a_main_part_with_enough_text_stands_for_the_page(decode: Decode):
    main = f"<div>around</div><main><p>{sentences(4)}</p></main><div>around</div>"
    assert text_of(decode, main) == sentences(4)
    assert text_of(decode, "<div>around</div><main>little</main>") == "around\n\nlittle"


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ("<meta charset=latin1><p>Gr\u00fc\u00dfe".encode("latin-1"), "Gr\u00fc\u00dfe"),
        (
            '<meta http-equiv="Content-Type" content="text/html; charset=koi8-r"><p>'
            "\u043f\u0440\u0438\u0432\u0435\u0442".encode("koi8-r"),
            "\u043f\u0440\u0438\u0432\u0435\u0442",
        ),
        ("<p>Gr\u00fc\u00dfe".encode("utf-16"), "Gr\u00fc\u00dfe"),
        ("<meta charset=utf-16><p>Gr\u00fc\u00dfe".encode(), "Gr\u00fc\u00dfe"),
        ("<meta charset=no-such><p>Gr\u00fc\u00dfe".encode(), "Gr\u00fc\u00dfe"),
        (b"<meta charset=utf-7><p>+ADw-script+AD4-", "+ADw-script+AD4-"),
    ],
)
def test_an_encoding_is_believed_where_it_can_be(decode: Decode, data: bytes, text: str):
    assert text_of(decode, data) == text


@pytest.mark.parametrize(
    "html",
    [
        "<div>" * 8_000 + "deep",
        "<b><i>" * 4_000 + "deep",
        "<table>" * 2000 + "deep",
        "<p>" + "<a href=x>" * 20_000 + "deep",
        "<!--" * 100_000 + "deep",
        "&amp" * 100_000 + "deep",
    ],
)
def test_depth_without_end_ends(decode: Decode, html: str):
    assert "deep" in text_of(decode, html) or html.startswith("<!--")


def test_a_page_that_is_deeper_than_any_is_refused_before_it_costs_time(decode: Decode):
    began = time.process_time()
    with pytest.raises(InvalidTask) as refused:
        text_of(decode, "<div>" * 200_000 + "deep")
    assert refused.value.code == "unreadable_document"
    assert time.process_time() - began < 2


def test_bytes_that_are_no_text_are_refused(decode: Decode):
    with pytest.raises(InvalidTask) as refused:
        text_of(decode, bytes(range(32)) * 500)
    assert refused.value.code == "unreadable_document"
