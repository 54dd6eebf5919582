from __future__ import annotations

import hashlib
import os

import pytest

from mmr5.errors import DocumentError, PageError, SourceNotFoundError
from mmr5.pages.files import StoredFile, files_below, kind_of, known_kind, natural_key, read_head


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"%PDF-1.7\n", "pdf"),
        (b"\n\n junk before %PDF-1.4", "pdf"),
        (b"x" * 2000 + b"%PDF-1.4", None),
        (b"about %PDF- headers", None),
        (b"\x89PNG\r\n\x1a\n....", "png"),
        (b"\xff\xd8\xff\xe0", "jpeg"),
        (b"RIFF\x10\0\0\0WEBPVP8 ", "webp"),
        (b"RIFF\x10\0\0\0WAVEfmt ", None),
        (b"II*\0", "tiff"),
        (b"MM\0*", "tiff"),
        (b"GIF89a", "gif"),
        (b"BM" + bytes(12) + (40).to_bytes(4, "little"), "bmp"),
        (b"BMW builds cars in Munich", None),
        (b"", None),
    ],
)
def test_kind_by_content(head, kind):
    assert kind_of(head) == kind


def test_natural_order():
    names = ["b/1.pdf", "page10.png", "Page2.png", "page1.png", "a/2.pdf", "a/10.pdf", "a.pdf"]
    assert sorted(names, key=natural_key) == [
        "a/2.pdf", "a/10.pdf", "a.pdf", "b/1.pdf", "page1.png", "Page2.png", "page10.png",
    ]  # fmt: skip
    assert natural_key("A.png") != natural_key("a.png")


def test_files_below_leaves_hidden_ones_out(tmp_path):
    for name in ("b.pdf", "sub/a.pdf", ".hidden.pdf", ".git/x.pdf", "sub/.DS_Store"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x")
    assert [path.relative_to(tmp_path).as_posix() for path in files_below(tmp_path)] == ["b.pdf", "sub/a.pdf"]


def test_stored_file_notices_changes(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"one")
    stored = StoredFile.of(path)
    assert stored.digest == hashlib.sha256(b"one").hexdigest()
    os.utime(path, ns=(1, 1))
    stored.check()
    path.write_bytes(b"two")
    with pytest.raises(PageError, match="changed"):
        stored.check()
    path.unlink()
    with pytest.raises(PageError, match="cannot be read any more"):
        stored.check()


def test_what_cannot_be_read_says_why(tmp_path):
    with pytest.raises(SourceNotFoundError, match="no such file"):
        read_head(tmp_path / "missing.pdf")
    with pytest.raises(SourceNotFoundError, match="no such file"):
        read_head(tmp_path / "missing" / "deeper.pdf")
    with pytest.raises(DocumentError, match="File name too long"):
        read_head(tmp_path / ("x" * 5000))
    (tmp_path / "empty.pdf").touch()
    with pytest.raises(DocumentError, match="0 bytes"):
        known_kind(tmp_path / "empty.pdf")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DocumentError, match="neither a file"):
        known_kind(tmp_path / "pipe")
    (tmp_path / "notes.png").write_text("just text")
    with pytest.raises(DocumentError, match=r"named \.png; known kinds: PDF, PNG"):
        known_kind(tmp_path / "notes.png")
