"""PDFs written by hand, with any content stream, fonts and pictures, for tests of what a page says."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence

from PIL import Image

FACTS = (
    "The north pump of Kelmar station was replaced on 14 May 1987.",
    "It moves 312 litres of water in a minute and is painted green.",
    "The engineer in charge of the work was Ottilie Brandt of Lund.",
    "Spare parts are kept in the cellar behind the second boiler.",
)


def lines(texts: Sequence[str], x: float = 72, y: float = 760, size: float = 11, before: str = "", step: float = 15) -> str:
    """A content stream that shows lines in font F1."""
    shown = " T* ".join("(" + t.replace("\\", r"\\").replace("(", r"\(").replace(")", r"\)") + ") Tj" for t in texts)
    return f"q {before} BT /F1 {size} Tf {step} TL {x} {y} Td {shown} ET Q\n"


def write(
    contents: Sequence[str | bytes],
    *,
    page: str = "",
    box: Sequence[float] = (0, 0, 595, 842),
    fonts: Mapping[str, str] | None = None,
    picture: Image.Image | None = None,
    extra: Sequence[str | tuple[str, bytes]] = (),
    catalog: str = "",
) -> bytes:
    """A PDF with a page a content stream.

    Args:
        contents: the content streams, in cp1252 where they are texts.
        page: more entries of every page, e.g. ``/Rotate 90``.
        box: the MediaBox.
        fonts: dictionaries of fonts by name, besides F1 (Helvetica).
        picture: drawn by ``/Im Do``.
        extra: more objects, numbered from 10; a pair is a stream with its dictionary's entries.
        catalog: more entries of the catalog.
    """
    objects: dict[int, bytes] = {}

    def stream(entries: str, data: bytes) -> bytes:
        return f"<< {entries} /Length {len(data)} >>\nstream\n".encode() + data + b"\nendstream"

    named = {"F1": "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>", **(fonts or {})}
    resources = "/Font << " + " ".join(f"/{name} {font}" for name, font in named.items()) + " >>"
    if picture is not None:
        grey = picture.convert("L")
        objects[5] = stream(
            f"/Type /XObject /Subtype /Image /Width {grey.width} /Height {grey.height} /ColorSpace /DeviceGray "
            "/BitsPerComponent 8 /Filter /FlateDecode",
            zlib.compress(grey.tobytes()),
        )
        resources += " /XObject << /Im 5 0 R >>"
    for i, item in enumerate(extra):
        objects[10 + i] = stream(item[0], item[1]) if isinstance(item, tuple) else item.encode("latin-1")
    first = 100
    kids = " ".join(f"{first + 2 * i} 0 R" for i in range(len(contents)))
    objects[1] = f"<< /Type /Catalog /Pages 2 0 R {catalog} >>".encode()
    objects[2] = f"<< /Type /Pages /Kids [{kids}] /Count {len(contents)} >>".encode()
    shown_box = " ".join(map(str, box))
    for i, content in enumerate(contents):
        objects[first + 2 * i] = (
            f"<< /Type /Page /Parent 2 0 R /MediaBox [{shown_box}] /Resources << {resources} >> "
            f"/Contents {first + 2 * i + 1} 0 R {page} >>"
        ).encode()
        objects[first + 2 * i + 1] = stream("", content if isinstance(content, bytes) else content.encode("cp1252"))
    out, places = bytearray(b"%PDF-1.7\n"), {}
    for number, body in sorted(objects.items()):
        places[number] = len(out)
        out += f"{number} 0 obj\n".encode() + body + b"\nendobj\n"
    start, size = len(out), max(objects) + 1
    out += f"xref\n0 {size}\n0000000000 65535 f \n".encode()
    for number in range(1, size):
        out += f"{places[number]:010d} 00000 n \n".encode() if number in places else b"0000000000 65535 f \n"
    out += f"trailer\n<< /Size {size} /Root 1 0 R >>\nstartxref\n{start}\n%%EOF\n".encode()
    return bytes(out)


def mapped_font(unicodes: Mapping[int, str], number: int = 10) -> tuple[str, tuple[str, bytes]]:
    """Helvetica with a ToUnicode map of its own, and the map's stream, which is object ``number``."""
    rows = "\n".join(f"<{code:02X}> <{text.encode('utf-16-be').hex()}>" for code, text in unicodes.items())
    cmap = (
        "/CIDInit /ProcSet findresource begin 12 dict begin begincmap /CMapName /X def /CMapType 2 def\n"
        "1 begincodespacerange <00> <FF> endcodespacerange\n"
        f"{len(unicodes)} beginbfchar\n{rows}\nendbfchar\nendcmap end end"
    )
    font = f"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding /ToUnicode {number} 0 R >>"
    return font, ("", cmap.encode())


def shifted(by: int) -> dict[int, str]:
    """A ToUnicode map that moves every letter in the alphabet."""
    found = {i: chr(i) for i in range(32, 127)}
    for start in (65, 97):
        found.update({start + i: chr(start + (i + by) % 26) for i in range(26)})
    return found


def offset(by: int) -> dict[int, str]:
    """A ToUnicode map that moves every sign but the space to another block of Unicode."""
    return {32: " ", **{i: chr(i + by) for i in range(33, 127)}}
