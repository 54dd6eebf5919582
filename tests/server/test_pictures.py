"""A picture of every kind that is promised, whole, small and hostile."""

import base64
import io

import numpy as np
import PIL.Image
import pytest

from mmr5.engines.scripted import ScriptedEngine
from mmr5.server.pictures import PLAIN_PIXELS

from .conftest import png, reverser

KINDS = [
    *(("PNG", mode) for mode in ("1", "L", "P", "LA", "RGB", "RGBA", "I;16")),
    *(("JPEG", mode) for mode in ("L", "RGB", "CMYK")),
    *(("WEBP", mode) for mode in ("RGB", "RGBA")),
    *(("TIFF", mode) for mode in ("1", "L", "P", "RGB", "RGBA", "CMYK", "I;16", "F")),
    *(("BMP", mode) for mode in ("1", "L", "P", "RGB")),
    *(("GIF", mode) for mode in ("P", "L")),
]


def halves(mode):
    """Black on the left, white on the right."""
    left = np.zeros((40, 60), np.uint8)
    left[:, 30:] = 255
    grey = PIL.Image.fromarray(left)
    if mode == "I;16":
        return PIL.Image.fromarray(left.astype(np.uint16) * 257)
    if mode == "F":
        return PIL.Image.fromarray(left.astype(np.float32) / 1000 - 3)
    return grey.convert("RGB").convert(mode) if mode in {"P", "CMYK", "RGBA", "LA"} else grey.convert(mode)


def encoded(kind, mode, frames=1):
    buffer = io.BytesIO()
    more = [PIL.Image.new(halves(mode).mode, (60, 40))] * (frames - 1)
    options = {"WEBP": {"lossless": True}, "JPEG": {"quality": 95}}.get(kind, {})
    halves(mode).save(buffer, kind, **options, **({"save_all": True, "append_images": more} if more else {}))
    return buffer.getvalue()


def ask(client, pictures, **body):
    documents = [{"image": base64.b64encode(data).decode()} for data in pictures]
    return client.post("/rerank", json={"query": "q", "documents": documents, **body})


def shown(engine):
    """The pictures that the model was given."""
    return [part["image"].load(10_000) for m in engine.requests[0].messages for part in m["content"] if part["type"] == "image"]


@pytest.mark.parametrize("start", [0, 10, 20])
def test_a_picture_of_every_kind_reaches_the_model_as_it_is(make_client, start):
    engine = ScriptedEngine(reverser)
    client = make_client(engine, method="reason", view="image")
    wanted = [*((kind, mode, 1) for kind, mode in KINDS), *((kind, "L", 3) for kind in ("TIFF", "GIF", "WEBP"))][
        start : start + 10
    ]
    answer = ask(client, [encoded(*one) for one in wanted])
    assert answer.status_code == 200, answer.text
    for what, image in zip(wanted, shown(engine), strict=True):
        assert image.size == (60, 40), what
        dark, light = (np.asarray(image)[:, columns].mean() for columns in (slice(0, 25), slice(35, 60)))
        assert dark < 8 and light > 247, (what, dark, light)


@pytest.mark.parametrize("kind", ["WEBP", "TIFF", "BMP", "GIF"])
def test_a_damaged_picture_of_another_kind_is_refused_by_name(make_client, kind):
    client = make_client(ScriptedEngine(reverser), method="reason", view="image")
    answer = ask(client, [png(), encoded(kind, "L")[:-12]])
    assert answer.status_code == 422 and answer.json()["message"].startswith("documents[1]: ")


def test_a_picture_of_another_kind_that_is_too_large_is_refused_by_name(make_client):
    client = make_client(ScriptedEngine(reverser), method="reason", view="image", max_pixels=2000)
    answer = ask(client, [png(), encoded("BMP", "L")])
    assert answer.status_code == 422
    assert (
        answer.json()["message"] == "documents[1]: its picture has 60 x 40 pixels, and at most 2,000 are decoded: scale it down"
    )


@pytest.mark.parametrize(
    "pictures", [[png(100, 100)] * 3, [png(100, 100), encoded("BMP", "L"), png(100, 100), encoded("GIF", "L")]]
)
def test_pixels_of_a_request_are_bounded_before_any_is_decoded(make_client, monkeypatch, pictures):
    client = make_client(ScriptedEngine(reverser), method="reason", view="image", max_request_pixels=23_000)
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda *a, **k: pytest.fail("it was decoded"))
    answer = ask(client, pictures)
    assert answer.status_code == 413
    where = len(pictures) - 1
    assert answer.json()["message"].startswith(f"documents[{where}]: the pictures up to this one have more than 23,000 pixels")


def test_a_large_picture_is_made_small_by_the_process(make_client):
    engine = ScriptedEngine(reverser)
    client = make_client(engine, method="reason", view="image")
    buffer = io.BytesIO()
    PIL.Image.new("1", (4000, PLAIN_PIXELS // 4000 + 1)).save(buffer, "PNG")
    assert ask(client, [buffer.getvalue()]).status_code == 200
    given = next(part["image"] for m in engine.requests[0].messages for part in m["content"] if part["type"] == "image")
    assert given.load().size[0] * given.load().size[1] <= 4_000_000


def test_a_process_that_dies_over_a_picture_does_no_harm(make_client):
    client = make_client(ScriptedEngine(reverser), method="reason", view="image")
    client.app.state.service.pictures.parser.command = ("false",)
    answer = ask(client, [encoded("GIF", "L")])
    assert answer.status_code == 422 and "died" in answer.json()["message"]
    assert ask(client, [png()]).status_code == 200
    assert not [path for path in client.app.state.store.root.iterdir() if path.name.startswith(("convert-", "reading-"))]
