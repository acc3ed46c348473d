"""Documents of every type, made here: small, whole, and with what the tests look for in them."""

import io
import zipfile
import zlib
from collections.abc import Mapping, Sequence

import docx
import pypdf

WORDS = (
    "The harbour stores grain in nine silos and ships it by rail when the river freezes over",
    "Inspectors measure the moisture of the grain twice a day and write it into the harbour log",
    "A silo above fourteen percent moisture is dried before the grain can spoil",
    "Rail cars leave the harbour at dawn and carry sixty tonnes of grain each",
    "The river froze in three of the last ten winters, for eleven days on average",
)


PICTURE = (
    b"<< /Type /XObject /Subtype /Image /Width 2 /Height 2 /ColorSpace /DeviceGray "
    b"/BitsPerComponent 8 /Length 4 >>\nstream\n\x00\xff\xff\x00\nendstream"
)


def sentences(count: int, start: int = 0) -> str:
    """Sentences of a report, each with a number of its own."""
    return " ".join(f"{WORDS[n % len(WORDS)]} ({n})." for n in range(start, start + count))


def make_pdf(
    pages: Sequence[str],
    *,
    title: str = "Harbour report",
    pictures: Sequence[int] = (),
    count: int | None = None,
    size: int = 10,
) -> bytes:
    """Write a PDF, a text a page; on pages numbered in `pictures` a picture covers everything."""
    objects: list[bytes] = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"",
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
        f"<< /Title ({title}) /Author (A. Tester) /CreationDate (D:20240131120000Z) >>".encode(),
        PICTURE,
    ]
    kids: list[int] = []
    for number, text in enumerate(pages, start=1):
        drawn = draw_text(text, size)
        if number in pictures:
            drawn = b"q 595 0 0 842 0 0 cm /Im1 Do Q\n" + drawn
        packed = zlib.compress(drawn)
        objects.append(
            b"<< /Length %d /Filter /FlateDecode >>\nstream\n%b\nendstream" % (len(packed), packed)
        )
        objects.append(
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents %d 0 R "
            b"/Resources << /Font << /F1 3 0 R >> /XObject << /Im1 5 0 R >> >> >>" % len(objects)
        )
        kids.append(len(objects))
    listed = b" ".join(b"%d 0 R" % kid for kid in kids)
    total = len(kids) if count is None else count
    objects[1] = b"<< /Type /Pages /Kids [%b] /Count %d >>" % (listed, total)
    return join_objects(objects)


def draw_text(text: str, size: int = 10) -> bytes:
    """Draw a text in lines of about eighty characters of ten points, or fewer of more."""
    lines: list[str] = [""]
    for word in text.split():
        if len(lines[-1]) + len(word) > 800 // size:
            lines.append("")
        lines[-1] += f"{word} "
    shown = (line.replace("\\", "\\\\").replace("(", "\\(").replace(")", "\\)") for line in lines)
    drawn = "\n".join(f"({line.rstrip()}) Tj T*" for line in shown)
    return f"BT /F1 {size} Tf {1.2 * size:g} TL 40 780 Td\n{drawn}\nET".encode("cp1252")


def join_objects(objects: Sequence[bytes]) -> bytes:
    out = bytearray(b"%PDF-1.4\n")
    places: list[int] = []
    for number, body in enumerate(objects, start=1):
        places.append(len(out))
        out += b"%d 0 obj\n%b\nendobj\n" % (number, body)
    table = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    out += b"".join(b"%010d 00000 n \n" % place for place in places)
    out += b"trailer\n<< /Size %d /Root 1 0 R /Info 4 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (
        len(objects) + 1,
        table,
    )
    return bytes(out)


def encrypt_pdf(pdf: bytes, *, user: str = "secret", owner: str = "owner") -> bytes:
    """Encrypt a PDF; with an empty `user` everybody can open it."""
    writer = pypdf.PdfWriter(clone_from=io.BytesIO(pdf))
    writer.encrypt(user_password=user, owner_password=owner, algorithm="AES-256")
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


def make_docx(paragraphs: Sequence[str] = (sentences(3), sentences(3, 3))) -> bytes:
    """Write a Word document: a title, paragraphs, a table."""
    document = docx.Document()
    document.core_properties.author = "A. Tester"
    document.core_properties.title = "Harbour report"
    document.add_heading("Harbour report", 0)
    for paragraph in paragraphs:
        document.add_paragraph(paragraph)
    table = document.add_table(rows=2, cols=2)
    for row, cells in zip(table.rows, (("silo", "moisture"), ("nine", "12 %")), strict=True):
        for cell, text in zip(row.cells, cells, strict=True):
            cell.text = text
    out = io.BytesIO()
    document.save(out)
    return out.getvalue()


def replace_parts(archive: bytes, parts: Mapping[str, bytes | None]) -> bytes:
    """Exchange, add, or with `None` leave out, parts of an archive."""
    out = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(archive)) as old,
        zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for name in old.namelist():
            if name not in parts:
                new.writestr(name, old.read(name))
        for name, data in parts.items():
            if data is not None:
                new.writestr(name, data)
    return out.getvalue()


def make_html(body: str = f"<p>{sentences(3)}</p><p>{sentences(3, 3)}</p>") -> bytes:
    """Write a web page."""
    return (
        '<!doctype html><html lang="en"><head><title>Harbour report</title>'
        '<meta name="author" content="A. Tester"></head>'
        f"<body><nav>Home About</nav>{body}<script>var x = 1;</script></body></html>"
    ).encode()


def make_markdown() -> bytes:
    """Write Markdown."""
    return (
        "---\ntitle: Harbour report\nauthor: A. Tester\n---\n# Harbour *report*\n\n"
        f"{sentences(3)}\n\n- a [link](https://example.com)\n- `code`\n\n"
        f"|silo|moisture|\n|-|-|\n|nine|12 %|\n\n```py\nprint(1)\n```\n\n{sentences(3, 3)}\n"
    ).encode()


def make_text() -> bytes:
    """Write a plain text."""
    return f"{sentences(3)}\n\n{sentences(3, 3)}\n".encode()
