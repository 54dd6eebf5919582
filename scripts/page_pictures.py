"""The pictures of the web page in docs/images, taken in Chromium: ``python scripts/page_pictures.py [--mini URL]``.

They show the dry run without a model (``--engine scripted --method pointwise``), while notes grow and with its result. With
``--mini`` the one of ``mini`` is taken instead, from an ``mmr5 serve`` that runs at that address.
"""

from __future__ import annotations

import argparse
import io
import shutil
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import PIL.Image
import uvicorn
from playwright.sync_api import Browser, Page, sync_playwright

from mmr5.engines.protocol import OnText, Reply, Request, Sampling
from mmr5.engines.scripted import ScriptedEngine
from mmr5.reranker import Reranker
from mmr5.server.app import create_app
from mmr5.settings import ServerSettings

IMAGES = Path(__file__).parents[1] / "docs/images"
QUESTION = "What was the diver paid for bringing up the fog bell?"
QUESTION_TO_MINI = "How many crane drivers work in the port?"
DESKTOP: dict[str, Any] = {"viewport": {"width": 1000, "height": 800}}
PHONE: dict[str, Any] = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}
COLORS = 256
"""Colours of a picture: a third of the bytes of all of them, and no shade is lost to the eye."""


class Typist(ScriptedEngine):
    """The dry run; it stops in the middle of its second note until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.paused, self.go = threading.Event(), threading.Event()

    def generate(self, requests: Sequence[Request], sampling: Sampling, on_text: OnText | None = None) -> list[Reply]:
        """As the dry run."""
        heard = [0] * len(requests)

        def tell(position: int, piece: str) -> None:
            if on_text is not None:
                on_text(position, piece)
            heard[position] += 1
            if position == 1 and heard[position] == 8:
                self.paused.set()
                self.go.wait(60)

        return super().generate(requests, sampling, None if on_text is None else tell)


@contextmanager
def served(engine: ScriptedEngine) -> Iterator[str]:
    """A server on a free port."""
    app = create_app(Reranker(engine, method="pointwise", view="text"), ServerSettings(retriever="bm25"))
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]}, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.05)
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"
        server.should_exit = True
        thread.join(10)


def asked(browser: Browser, url: str, question: str, **settings: Any) -> Page:
    """The page with a question about the example on its way."""
    page = browser.new_context(reduced_motion="reduce", **settings).new_page()
    page.set_default_timeout(180_000)
    page.goto(url)
    page.click("#example")
    page.get_by_text("12 pages", exact=True).wait_for()
    page.fill("#question", question)
    page.click("#go")
    return page


def keep(page: Page, name: str) -> None:
    """Save what is on the screen, with few colours, once the thumbnails are there."""
    page.evaluate("document.activeElement.blur()")
    page.mouse.move(1, 1)
    shown = "[...document.querySelectorAll('.thumb img')].filter((i) => i.getBoundingClientRect().top < innerHeight)"
    while not page.evaluate(f"{shown}.every((i) => i.complete && i.naturalWidth)"):
        page.wait_for_timeout(50)
    picture = PIL.Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    small = picture.quantize(COLORS, PIL.Image.Quantize.MAXCOVERAGE, kmeans=1, dither=PIL.Image.Dither.NONE)
    small.save(IMAGES / name, optimize=True)
    print(f"{IMAGES / name}: {(IMAGES / name).stat().st_size:,} bytes")


def writing(browser: Browser) -> None:
    """The page while notes are written."""
    engine = Typist()
    with served(engine) as url:
        page = asked(browser, url, QUESTION, color_scheme="light", **DESKTOP)
        engine.paused.wait(60)
        page.locator(".writing").nth(1).wait_for()
        page.wait_for_timeout(300)
        keep(page, "page-writing.png")
        engine.go.set()
        page.wait_for_selector("body[data-state=result]")


def result(browser: Browser, url: str, question: str, name: str, scheme: str, screen: dict[str, Any]) -> None:
    """The page with a result."""
    page = asked(browser, url, question, color_scheme=scheme, **screen)
    page.wait_for_selector("body[data-state=result]")
    keep(page, name)


def main() -> None:
    """Take the pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mini", help="address of a server with mini")
    given = parser.parse_args()
    with sync_playwright() as playwright:
        path = shutil.which("chromium") or shutil.which("chromium-browser")
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        if given.mini:
            result(browser, given.mini, QUESTION_TO_MINI, "page-mini.png", "light", DESKTOP)
        else:
            writing(browser)
            with served(ScriptedEngine()) as url:
                result(browser, url, QUESTION, "page-desktop-light.png", "light", DESKTOP)
                result(browser, url, QUESTION, "page-desktop-dark.png", "dark", DESKTOP)
                result(browser, url, QUESTION, "page-phone.png", "light", PHONE)
        browser.close()


if __name__ == "__main__":
    main()
