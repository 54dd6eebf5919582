import base64
import io
from xml.etree import ElementTree

import pytest
from PIL import Image

from mmr5.errors import PageError
from mmr5.render.thumbnails import card, data_uri, page_uri
from mmr5.types import Page


def decoded(uri):
    return base64.b64decode(uri.partition(";base64,")[2])


def test_a_picture_becomes_a_jpeg_within_its_pixels(picture):
    uri = data_uri(picture(), 30_000)
    assert uri.startswith("data:image/jpeg;base64,")
    image = Image.open(io.BytesIO(decoded(uri)))
    assert image.width * image.height <= 30_000
    assert image.height > image.width
    assert image.convert("RGB").getpixel((5, 5))[0] > 180


def test_an_unreadable_picture_raises_alone_and_is_a_visible_card_on_a_page(picture):
    with pytest.raises(PageError, match="truncated"):
        data_uri(picture(readable=False), 1000)
    uri = page_uri(Page("a", image=picture(readable=False)), 1000)
    assert uri.startswith("data:image/svg+xml;base64,")
    assert b"cannot be shown" in decoded(uri)


def test_a_page_without_a_picture_is_a_card_of_its_text():
    assert b"Tide tables" in decoded(page_uri(Page("a", text="Tide tables"), 1000))
    assert b"no picture, no text" in decoded(page_uri(Page("a"), 1000))


def test_a_card_is_sound_xml_whatever_the_text():
    drawing = ElementTree.fromstring(decoded(card("</svg><script>alert(1)</script> & \x00\x1b\udc80 \ufffe end")))
    assert drawing.tag == "{http://www.w3.org/2000/svg}svg"
    assert {element.tag.rpartition("}")[2] for element in drawing.iter()} == {"svg", "rect", "text", "tspan"}
    assert "end" in "".join(drawing.itertext())


def test_a_long_text_is_cut_to_the_card():
    assert decoded(card("word " * 5000)).count(b"<tspan") == 19
