from __future__ import annotations

import io
import struct
import warnings
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mmr5.errors import ConfigError, PageError
from mmr5.pages import images
from mmr5.pages.files import StoredFile
from mmr5.pages.images import MAX_DECODED_PIXELS, ImageBytes, ImageFile, count_frames, decode, fit_size, is_blank, to_rgb
from mmr5.types import ImageSource

RED, BLUE, WHITE = (255, 0, 0), (0, 0, 255), (255, 255, 255)


def red_left_blue_right(size=(40, 20)) -> Image.Image:
    image = Image.new("RGB", size, BLUE)
    image.paste(RED, (0, 0, size[0] // 2, size[1]))
    return image


@given(st.integers(1, 100_000), st.integers(1, 100_000), st.integers(1, 5_000_000))
def test_fit_size_stays_in_budget_and_keeps_the_shape(width, height, budget):
    w, h = fit_size(width, height, budget)
    assert 1 <= w <= width
    assert 1 <= h <= height
    assert w * h <= budget
    if width * height <= budget:
        assert (w, h) == (width, height)
    elif min(w, h) >= 2:
        scale = (budget / (width * height)) ** 0.5
        assert abs(w - width * scale) <= 1.001
        assert abs(h - height * scale) <= 1.001


def test_fit_size_of_a_page():
    assert fit_size(1700, 2200, 1_003_520) == (880, 1139)
    assert fit_size(100_000, 1, 10) == (10, 1)
    with pytest.raises(ConfigError, match="0"):
        fit_size(10, 10, 0)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_honoured_once(encode, orientation):
    upright = red_left_blue_right()
    stored = {
        1: None, 2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(upright if stored is None else upright.transpose(stored), "PNG", exif=exif)
    for image in (ImageBytes(data).load(), ImageBytes(data).load(200), to_rgb(Image.open(io.BytesIO(data)))):
        assert image.width == 2 * image.height
        assert image.getpixel((1, 1)) == RED
        assert image.getpixel((image.width - 2, image.height - 2)) == BLUE
        assert image.getexif().get(0x0112) is None


def test_damaged_exif_counts_as_upright(encode):
    data = encode(red_left_blue_right(), "JPEG", exif=b"Exif\0\0garbage")
    assert ImageBytes(data).load().size == (40, 20)


def test_transparency_is_white(encode):
    clear = Image.new("RGBA", (8, 8), (255, 0, 0, 0))
    half = Image.new("LA", (8, 8), (0, 128))
    palette = Image.new("P", (8, 8), 0)
    palette.putpalette([255, 0, 0] * 256)
    assert ImageBytes(encode(clear)).load().getpixel((4, 4)) == WHITE
    assert ImageBytes(encode(clear, "WEBP", lossless=True)).load(16).getpixel((1, 1)) == WHITE
    assert ImageBytes(encode(half)).load().getpixel((4, 4)) == (127, 127, 127)
    assert ImageBytes(encode(palette, transparency=0)).load().getpixel((4, 4)) == WHITE
    assert ImageBytes(encode(Image.new("RGB", (8, 8), RED), transparency=RED)).load(16).getpixel((1, 1)) == WHITE


def test_deep_palette_and_print_modes(encode):
    ramp = np.linspace(0, 65535, 64, dtype=np.uint16).reshape(8, 8)
    for kind in ("PNG", "TIFF"):
        assert np.asarray(ImageBytes(encode(Image.fromarray(ramp), kind)).load())[:, :, 0].tolist() == (ramp >> 8).tolist()
    floats = Image.fromarray(np.array([[0.0, 0.5], [1.0, np.nan]], dtype=np.float32))
    assert [p[0] for p in np.asarray(ImageBytes(encode(floats, "TIFF")).load()).reshape(4, 3)] == [0, 127, 255, 0]
    flat = Image.fromarray(np.full((2, 2), 3.5, dtype=np.float32))
    assert ImageBytes(encode(flat, "TIFF")).load().getpixel((0, 0)) == (0, 0, 0)
    palette = red_left_blue_right().convert("P", palette=Image.Palette.ADAPTIVE)
    assert ImageBytes(encode(palette, "GIF")).load().getpixel((2, 2)) == RED
    assert ImageBytes(encode(Image.new("CMYK", (8, 8), (0, 0, 0, 0)), "TIFF")).load().getpixel((2, 2)) == WHITE
    assert ImageBytes(encode(Image.new("1", (8, 8), 1), "TIFF")).load().getpixel((2, 2)) == WHITE
    assert to_rgb(Image.new("I", (2, 2), 0xFFFF)).getpixel((0, 0)) == WHITE


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF"])
def test_every_kind_is_decoded_within_the_budget(encode, kind):
    data = encode(Image.new("RGB", (300, 200), WHITE), kind)
    assert ImageBytes(data).load().size == (300, 200)
    small = ImageBytes(data).load(1000)
    assert small.mode == "RGB"
    assert small.size == fit_size(300, 200, 1000)


def test_frames(encode):
    first, second = Image.new("RGB", (8, 8), RED), Image.new("RGB", (4, 4), BLUE)
    tiff = encode(first, "TIFF", save_all=True, append_images=[second])
    gif = encode(first, "GIF", save_all=True, append_images=[Image.new("RGB", (8, 8), BLUE)])
    assert count_frames(io.BytesIO(tiff)) == 2
    assert count_frames(io.BytesIO(gif)) == 1
    assert ImageBytes(tiff, 1).load().getpixel((1, 1)) == BLUE
    assert ImageBytes(gif).load().getpixel((1, 1)) == RED
    with pytest.raises(PageError, match="cannot be decoded"):
        ImageBytes(tiff, 2).load()


def test_sources_fulfil_the_contract(encode, tmp_path):
    data = encode(red_left_blue_right())
    path = tmp_path / "a.png"
    path.write_bytes(data)
    in_file, in_memory = ImageFile(StoredFile.of(path)), ImageBytes(data)
    assert isinstance(in_file, ImageSource)
    assert isinstance(in_memory, ImageSource)
    assert in_file.key == in_memory.key != ImageBytes(data, 1).key
    assert in_file.load().tobytes() == in_memory.load().tobytes() == red_left_blue_right().tobytes()
    assert "PNG" not in repr(in_memory)
    path.unlink()
    with pytest.raises(PageError, match=r"a\.png, page 1: the file cannot be read"):
        in_file.load()


def png_header(width: int, height: int) -> bytes:
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")


def webp_header(width: int, height: int) -> bytes:
    body = b"VP8X" + struct.pack("<I", 10) + bytes(4) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


@pytest.mark.parametrize(
    "data",
    [
        png_header(20_000, 20_000),
        png_header(65_535, 65_535),
        webp_header(16_000, 16_000),
        b"GIF89a" + struct.pack("<HH", 65_535, 65_535) + bytes(20),
        b"BM" + struct.pack("<IHHIIiiHHIIiiII", 100, 0, 0, 54, 40, 30_000, 30_000, 1, 24, 0, 0, 0, 0, 0, 0),
    ],
    ids=["png", "huge-png", "webp", "gif", "bmp"],
)
def test_bombs_are_refused_without_a_warning(data):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for call in (lambda: ImageBytes(data).load(1000), lambda: count_frames(io.BytesIO(data))):
            with pytest.raises(PageError, match=r"pixels|decompression bomb|cannot be decoded"):
                call()


def test_twenty_thousand_squared_jpeg_is_decoded_reduced(encode, monkeypatch):
    monkeypatch.setattr(images, "MAX_DECODED_PIXELS", 10_000)
    data = encode(Image.new("L", (300, 300), 200), "JPEG")
    assert ImageBytes(data).load().size == (75, 75)
    assert ImageBytes(data).load(900).size == (30, 30)
    with pytest.raises(PageError, match="300 x 300 pixels"):
        ImageBytes(encode(Image.new("L", (300, 300), 200), "JPEG", progressive=True)).load(900)
    with pytest.raises(PageError, match="900 x 900 pixels"):
        ImageBytes(encode(Image.new("L", (900, 900), 200), "JPEG")).load(900)
    with pytest.raises(PageError, match="300 x 300 pixels"):
        ImageBytes(encode(Image.new("L", (300, 300), 200), "PNG")).load(900)


def test_the_limit_is_that_of_pillow():
    assert Image.MAX_IMAGE_PIXELS == MAX_DECODED_PIXELS


@pytest.mark.filterwarnings("ignore:Corrupt EXIF:UserWarning")
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF"])
def test_truncated_images_are_page_errors(encode, kind):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8))
    data = encode(noise, kind)
    for end in (len(data) // 2, 20):
        with pytest.raises(PageError):
            ImageBytes(data[:end]).load(1000)


@pytest.mark.parametrize(("data", "named"), [(b"hello", "no known kind"), (b"%PDF-1.4", "a PDF"), (b"", "no known kind")])
def test_what_is_no_image_is_named(data, named):
    with pytest.raises(PageError, match=named):
        decode(io.BytesIO(data))


def test_impossible_budget(encode):
    with pytest.raises(ConfigError, match="-5"):
        ImageBytes(encode(red_left_blue_right())).load(-5)


def test_blank_pages(make_picture):
    rng = np.random.default_rng(0)
    paper = Image.fromarray(rng.integers(225, 256, (800, 600), dtype=np.uint8)).convert("RGB")
    assert is_blank(Image.new("RGB", (800, 600), WHITE))
    assert is_blank(Image.new("RGB", (800, 600), (20, 20, 60)))
    assert is_blank(paper)
    assert is_blank(Image.new("RGB", (1, 1)))
    assert not is_blank(make_picture(["A short line"], (1200, 1600)))
    assert not is_blank(red_left_blue_right())
    yellow_on_white = Image.new("RGB", (800, 600), WHITE)
    yellow_on_white.paste((255, 255, 0), (100, 100, 160, 140))
    assert not is_blank(yellow_on_white)
