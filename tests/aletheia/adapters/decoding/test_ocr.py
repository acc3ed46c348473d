"""The decoder that recognises text, without its models."""

import sys
import tempfile

import pytest

from aletheia.adapters.decoding import ocr
from aletheia.errors import InvalidTask
from tests.fakes.samples import make_pdf


class Engine:
    """Sees one line for sure and one by chance; `sizes` are those of the pictures."""

    def __init__(self) -> None:
        self.sizes: list[tuple[int, ...]] = []

    def __call__(self, picture: object) -> object:
        self.sizes.append(tuple(getattr(picture, "shape", ())))
        return type("Found", (), {"txts": ("seen", "guessed"), "scores": (0.9, 0.2)})()


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    engine = Engine()
    monkeypatch.setattr(ocr, "load_engine", lambda: engine)
    return engine


def run(pdf: bytes, *numbers: int) -> list[dict[str, object]]:
    with tempfile.TemporaryFile() as file:
        file.write(pdf)
        file.flush()
        return list(ocr.recognise_pages([file.fileno()], numbers=numbers))


def test_what_is_seen_for_sure_is_the_text_of_the_page(engine: Engine):
    pages = run(make_pdf(["a", "b"]), 2, 1)
    assert [(page["number"], page["text"]) for page in pages] == [(2, "seen"), (1, "seen")]
    assert len(engine.sizes) == 2


def test_a_page_is_drawn_at_a_resolution_and_never_larger_than_may_be(engine: Engine):
    huge = make_pdf(["a"]).replace(b"[0 0 595 842]", b"[0 0 9999 999]")
    run(make_pdf(["a"]), 1)
    run(huge, 1)
    small, large = engine.sizes
    assert small[:2] == (
        pytest.approx(842 * ocr.DOTS_PER_INCH / 72, abs=2),
        pytest.approx(595 * ocr.DOTS_PER_INCH / 72, abs=2),
    )
    assert max(large) <= ocr.MAX_SIDE + 1


def test_without_the_extra_the_task_says_so(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "rapidocr", None)
    ocr.load_engine.cache_clear()
    with pytest.raises(InvalidTask) as refused:
        run(make_pdf(["a"]), 1)
    assert refused.value.code == "no_ocr"
    ocr.load_engine.cache_clear()
