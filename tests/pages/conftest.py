"""Small documents, written by hand: PDFs with a text layer, encrypted or broken, and PDFs of pictures."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from PIL import Image, ImageDraw, ImageFont

from mmr5.storage.cache import Cache

PAD = bytes.fromhex("28BF4E5E4E758A4164004E56FFFA01082E2E00B6D0683E802F0CA9FE6453697A")
PROSE = "The reservoir was drained in spring, and the engineers repaired both of its outlets."


def rc4(key: bytes, data: bytes) -> bytes:
    state = list(range(256))
    j = 0
    for i in range(256):
        j = (j + state[i] + key[i % len(key)]) % 256
        state[i], state[j] = state[j], state[i]
    i = j = 0
    out = bytearray()
    for byte in data:
        i = (i + 1) % 256
        j = (j + state[i]) % 256
        state[i], state[j] = state[j], state[i]
        out.append(byte ^ state[(state[i] + state[j]) % 256])
    return bytes(out)


def pdf_bytes(texts: Sequence[str | None], password: str | None = None, size: tuple[int, int] = (612, 792)) -> bytes:
    """A PDF with one page a text, in Helvetica, a line a line; None stands for a page that is missing from the file."""
    kids = " ".join(f"{4 + 2 * i} 0 R" for i in range(len(texts)))
    objects: dict[int, tuple[str, bytes | None]] = {
        1: ("<< /Type /Catalog /Pages 2 0 R >>", None),
        2: (f"<< /Type /Pages /Kids [{kids}] /Count {len(texts)} >>", None),
        3: ("<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>", None),
    }
    for i, text in enumerate(texts):
        if text is None:
            continue
        lines = [line.replace("\\", r"\\").replace("(", r"\(").replace(")", r"\)") for line in text.split("\n")]
        shown = "\n".join(f"({line}) Tj T*" for line in lines)
        objects[4 + 2 * i] = (
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 {size[0]} {size[1]}] "
            f"/Resources << /Font << /F1 3 0 R >> >> /Contents {5 + 2 * i} 0 R >>",
            None,
        )
        objects[5 + 2 * i] = ("", f"BT /F1 12 Tf 14 TL 40 {size[1] - 60} Td {shown} ET".encode("cp1252"))
    trailer, key = "", b""
    if password is not None:
        ident, permissions = b"0123456789abcdef", -44
        padded = (password.encode() + PAD)[:32]
        owner = rc4(hashlib.md5(padded).digest()[:5], padded)
        key = hashlib.md5(padded + owner + permissions.to_bytes(4, "little", signed=True) + ident).digest()[:5]
        trailer = (
            f"/ID [<{ident.hex()}> <{ident.hex()}>] /Encrypt << /Filter /Standard /V 1 /R 2 /P {permissions} "
            f"/O <{owner.hex()}> /U <{rc4(key, PAD).hex()}> >>"
        )
    out = bytearray(b"%PDF-1.4\n")
    places = {}
    for number, (body, stream) in objects.items():
        places[number] = len(out)
        if stream is not None:
            if key:
                salt = number.to_bytes(3, "little") + b"\0\0"
                stream = rc4(hashlib.md5(key + salt).digest()[:10], stream)
            out += f"{number} 0 obj\n<< /Length {len(stream)} >>\nstream\n".encode() + stream + b"\nendstream\nendobj\n"
        else:
            out += f"{number} 0 obj\n{body}\nendobj\n".encode()
    start, size_entry = len(out), 4 + 2 * len(texts)
    out += f"xref\n0 {size_entry}\n0000000000 65535 f \n".encode()
    for number in range(1, size_entry):
        out += f"{places[number]:010d} 00000 n \n".encode() if number in places else b"0000000000 65535 f \n"
    out += f"trailer\n<< /Size {size_entry} /Root 1 0 R {trailer} >>\nstartxref\n{start}\n%%EOF\n".encode()
    return bytes(out)


def picture(lines: Sequence[str], size: tuple[int, int] = (900, 500)) -> Image.Image:
    """A scan-like picture of some lines of text."""
    image = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(image)
    for i, line in enumerate(lines):
        draw.text((50, 50 + 60 * i), line, fill="black", font=ImageFont.load_default(36))
    return image


def image_bytes(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "documents"
    path.mkdir()
    return path


@pytest.fixture
def make_pdf() -> Callable[..., bytes]:
    return pdf_bytes


@pytest.fixture
def make_picture() -> Callable[..., Image.Image]:
    return picture


@pytest.fixture
def encode() -> Callable[..., bytes]:
    return image_bytes


@pytest.fixture
def prose() -> str:
    return PROSE
