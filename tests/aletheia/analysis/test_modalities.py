from aletheia.analysis.document_text import DocumentText
from aletheia.analysis.modalities import Material, read_transcription
from aletheia.analysis.ports import DocumentHead, Page

SPOKEN = {
    "transcription": "ignored where there are segments",
    "segments": [
        {"start": 0.0, "end": 2.5, "text": " The mill opens on Monday."},
        {"start": 2.5, "end": 3.0, "text": "  "},
        {"start": 3.0, "end": 7.25, "text": "It grinds 40 tons a day, and"},
        {"start": 7.25, "end": 9.0, "text": "employs nine people."},
    ],
}


def build_document() -> DocumentText:
    pages = (Page(1, "First page."), Page(2, "Second page\nends here."))
    text = "\n\n".join(page.text for page in pages)
    return DocumentText(DocumentHead("pdf", 2), pages, text, (0, 13))


def test_a_place_in_a_recording_has_its_time():
    spoken = read_transcription(SPOKEN)
    assert spoken.text.startswith("The mill opens on Monday. It grinds")
    place = spoken.find("grinds 40 tons")
    assert place is not None
    assert (place.start_s, place.end_s, place.page) == (3.0, 7.25, None)
    assert spoken.text[place.start : place.end] == place.quote


def test_a_sentence_over_several_segments_takes_their_time():
    spoken = read_transcription(SPOKEN)
    (_, second) = spoken.spans
    place = spoken.place(second.start, second.end)
    assert (place.start_s, place.end_s) == (3.0, 9.0)


def test_a_recording_without_segments_has_its_words():
    spoken = read_transcription({"transcription": "Good morning."})
    place = spoken.whole()
    assert (place.start, place.end, place.start_s, place.quote) == (0, 13, None, None)


def test_a_place_in_a_document_has_its_page():
    document = build_document()
    material = Material("document", document.text, document)
    place = material.find("second page ENDS")
    assert place is not None
    assert place.page == 2
    assert place.quote == "Second page\nends"
    assert material.find("page three") is None
    assert material.find("irst page") is None
    assert material.find("  ") is None


def test_a_place_in_a_text_has_neither():
    place = Material("text", "One. Two.").place(5, 9)
    assert place.model_dump(exclude_none=True) == {
        "modality": "text",
        "quote": "Two.",
        "start": 5,
        "end": 9,
    }
