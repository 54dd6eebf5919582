import io
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A job that a shell put into the background ignores Ctrl-C, and so would the programs that tests interrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _own_cache(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test has a cache of its own, but for those that ask for the real weights."""
    if "real_cache" not in request.fixturenames:
        monkeypatch.setenv("MMR5_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def real_cache() -> None:
    """The user's own cache, where `make` has put the weights of mini and of the dense retriever."""


@pytest.fixture(scope="session")
def tiny_text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from support.tiny import text_model

    return text_model(tmp_path_factory.mktemp("tiny-text"))


@pytest.fixture(scope="session")
def tiny_vision(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from support.tiny import vision_model

    return vision_model(tmp_path_factory.mktemp("tiny-vision"))


@pytest.fixture
def picture() -> Callable[..., bytes]:
    """A small picture of a word."""
    from PIL import Image, ImageDraw

    def draw(word: str = "fees", kind: str = "PNG") -> bytes:
        image = Image.new("RGB", (240, 100), "white")
        ImageDraw.Draw(image).text((12, 20), word, fill="black", font_size=40)
        buffer = io.BytesIO()
        image.save(buffer, kind)
        return buffer.getvalue()

    return draw
