"""What a file is, by its first and last bytes: names and headers that come with it may lie."""

import re
from collections.abc import Collection, Mapping
from typing import Final, Literal, TypeAlias, get_args

FileType: TypeAlias = Literal[
    "pdf",
    "docx",
    "html",
    "markdown",
    "text",
    "wav",
    "flac",
    "ogg",
    "mp3",
    "aac",
    "mp4",
    "webm",
    "aiff",
    "au",
    "caf",
    "amr",
    "asf",
    "avi",
    "flv",
    "wavpack",
    "ape",
    "tta",
    "w64",
    "voc",
    "nist",
    "ac3",
    "mpeg",
    "png",
    "jpeg",
    "gif",
    "webp",
    "tiff",
    "zip",
    "gzip",
    "rtf",
    "office",
    "program",
    "empty",
    "unknown",
]
"""`office` is a file of Microsoft's older formats; `zip` is any archive but `docx`."""

DOCUMENT_TYPES: Final[frozenset[FileType]] = frozenset({"pdf", "docx", "html", "markdown", "text"})
TEXT_TYPES: Final[frozenset[FileType]] = frozenset({"html", "markdown", "text"})
AUDIO_TYPES: Final[frozenset[FileType]] = frozenset(
    {
        *("wav", "flac", "ogg", "mp3", "aac", "mp4", "webm", "aiff", "au", "caf", "amr", "asf"),
        *("avi", "flv", "wavpack", "ape", "tta", "w64", "voc", "nist", "ac3", "mpeg"),
    }
)

ANY_TYPE: Final[frozenset[FileType]] = frozenset(get_args(FileType)) - {"empty"}

MEDIA_TYPES: Final[Mapping[FileType, str]] = {
    "pdf": "application/pdf",
    "docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "html": "text/html",
    "markdown": "text/markdown",
    "text": "text/plain",
    "wav": "audio/wav",
    "flac": "audio/flac",
    "ogg": "audio/ogg",
    "mp3": "audio/mpeg",
    "aac": "audio/aac",
    "mp4": "audio/mp4",
    "webm": "audio/webm",
    "aiff": "audio/aiff",
    "au": "audio/basic",
    "caf": "audio/x-caf",
    "amr": "audio/amr",
    "asf": "audio/x-ms-wma",
    "avi": "video/x-msvideo",
    "flv": "video/x-flv",
    "wavpack": "audio/x-wavpack",
    "ape": "audio/x-ape",
    "tta": "audio/x-tta",
    "w64": "audio/x-w64",
    "voc": "audio/x-voc",
    "nist": "audio/x-nist",
    "ac3": "audio/ac3",
    "mpeg": "video/mpeg",
    "png": "image/png",
    "jpeg": "image/jpeg",
    "gif": "image/gif",
    "webp": "image/webp",
    "tiff": "image/tiff",
    "zip": "application/zip",
    "gzip": "application/gzip",
    "rtf": "application/rtf",
    "office": "application/x-ole-storage",
}
"""Names of types, as HTTP has them; of containers that of the sound in them."""

HEAD_BYTES: Final = 4096
TAIL_BYTES: Final = 65_536
"""How much of the beginning and of the end of a file is read."""

_PDF_WITHIN: Final = 1024
"""Bytes before `%PDF-` that readers tolerate (ISO 32000-2, Annex I)."""

_SIGNATURES: Final[tuple[tuple[bytes, FileType], ...]] = (
    (b"PK\x03\x04", "zip"),
    (b"PK\x05\x06", "zip"),
    (b"\x1f\x8b", "gzip"),
    (b"fLaC", "flac"),
    (b"OggS", "ogg"),
    (b"ID3", "mp3"),
    (b"\x1aE\xdf\xa3", "webm"),
    (b".snd", "au"),
    (b"caff", "caf"),
    (b"#!AMR", "amr"),
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "asf"),
    (b"FLV\x01", "flv"),
    (b"wvpk", "wavpack"),
    *((b"MAC " + version, "ape") for version in (b"\x96\x0f", b"\x8c\x0f", b"\x82\x0f")),
    (b"TTA1\1\0", "tta"),
    (b"riff\x2e\x91\xcf\x11", "w64"),
    (b"Creative Voice File\x1a", "voc"),
    (b"NIST_1A\n", "nist"),
    (b"\x0b\x77", "ac3"),
    (b"\x00\x00\x01\xba", "mpeg"),
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"\xff\xd8\xff", "jpeg"),
    (b"GIF8", "gif"),
    (b"II*\x00", "tiff"),
    (b"MM\x00*", "tiff"),
    (b"{\\rtf", "rtf"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "office"),
    (b"\x7fELF", "program"),
    (b"MZ", "program"),
)
_RIFF: Final[Mapping[bytes, FileType]] = {
    b"WAVE": "wav",
    b"WEBP": "webp",
    b"AVI ": "avi",
}
_FORMS: Final[Mapping[bytes, Mapping[bytes, FileType]]] = {
    b"RIFF": _RIFF,
    b"RF64": _RIFF,
    b"FORM": {b"AIFF": "aiff", b"AIFC": "aiff"},
}
"""Containers, which name their form eight bytes on."""

_HTML: Final = re.compile(
    # No comment is read in two ways, or some hundred of them would be read for ever.
    rb"\s*+(<\?xml[^>]{0,200}>\s*+)?(<!--(?>.{0,2000}?-->)\s*+)*+"
    rb"<(!doctype\s+html|html|head|body|title|meta|article|div|table|p|h1)[\s>/]",
    re.IGNORECASE | re.DOTALL,
)
_MARKDOWN: Final = re.compile(
    r"^(#{1,6} \S|[-*+] \S|\d+\. \S|> \S|```|~~~|\|.+\|\s*$|---\s*$)"
    r"|\[[^\]\n]{1,200}\]\([^)\n]{1,500}\)",
    re.MULTILINE,
)
_MIN_MARKS: Final = 2
"""Lines of Markdown, or links, from which a text is Markdown; a heading alone is enough, too."""

_HEADING: Final = re.compile(r"^#{1,6} \S", re.MULTILINE)
_BOMS: Final = ((b"\xff\xfe\x00\x00", "utf-32"), (b"\x00\x00\xfe\xff", "utf-32"))
_WIDE_BOMS: Final = (b"\xff\xfe", b"\xfe\xff")
_CONTROLS: Final = frozenset(range(32)) - frozenset(b"\t\n\r\f\x1b\x08")
_MAX_CONTROLS: Final = 0.02
"""Share of control characters up to which bytes are taken for text."""

_MPEG_HEADER: Final = 4  # bytes
_ALL_SET: Final = 0xFF
_MPEG_SYNC: Final = 0xE0
_ADTS_LAYER: Final = 0xF6
_ADTS: Final = 0xF0


def find_type(head: bytes, tail: bytes = b"") -> FileType:
    """Return what a file is.

    `head`: its first `HEAD_BYTES`, or all of it; `tail`: its last `TAIL_BYTES` as far as known, in
    which an archive names what it holds.
    """
    if not head:
        return "empty"
    if b"%PDF-" in head[: _PDF_WITHIN + 5]:
        return "pdf"
    found = _find_signature(head)
    if found == "zip" and (b"word/document" in tail or b"word/document" in head):
        return "docx"
    if found:
        return found
    return _find_text_type(head)


def is_readable_as(found: FileType, accepted: Collection[FileType]) -> bool:
    """Check whether a file of a type is one of those accepted.

    What is text may be read as any kind of text: by its content they are not told apart for sure.
    """
    return found in accepted or (found in TEXT_TYPES and not TEXT_TYPES.isdisjoint(accepted))


def may_become(found: FileType, accepted: Collection[FileType]) -> bool:
    """Check whether a file whose beginning is of one type may turn out as an accepted one."""
    return is_readable_as(found, accepted) or (found == "zip" and "docx" in accepted)


def _find_signature(head: bytes) -> FileType | None:
    for signature, found in _SIGNATURES:
        if head.startswith(signature):
            return found
    forms = _FORMS.get(head[:4])
    if forms is not None:
        return forms.get(head[8:12], "unknown")
    return "mp4" if head[4:8] == b"ftyp" else _find_mpeg(head)


def _find_mpeg(head: bytes) -> FileType | None:
    """Read the header of a frame: eleven bits that are set, then version and layer."""
    if len(head) < _MPEG_HEADER or head[0] != _ALL_SET or head[1] & _MPEG_SYNC != _MPEG_SYNC:
        return None
    if head[:2] in _WIDE_BOMS:
        return None
    return "aac" if head[1] & _ADTS_LAYER == _ADTS else "mp3"


def _find_text_type(head: bytes) -> FileType:
    wide = head.startswith(_WIDE_BOMS) or any(head.startswith(bom) for bom, _ in _BOMS)
    if not wide and sum(byte in _CONTROLS for byte in head) > _MAX_CONTROLS * len(head):
        return "unknown"
    plain = head.removeprefix(b"\xef\xbb\xbf").replace(b"\0", b"")
    if _HTML.match(plain.lstrip(b"\xff\xfe")):
        return "html"
    text = plain.decode("utf-8", "replace")
    marks = sum(1 for _ in _MARKDOWN.finditer(text))
    return "markdown" if marks >= _MIN_MARKS or _HEADING.match(text) else "text"
