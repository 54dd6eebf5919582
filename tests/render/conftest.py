from dataclasses import dataclass

import pytest
from PIL import Image

from mmr5.errors import PageError
from mmr5.types import Issue, Page, Problem, RankedPage, RerankResult


@dataclass(frozen=True)
class Picture:
    """A plain picture of one colour; an unreadable one raises as a decoder does."""

    size: tuple = (600, 800)
    readable: bool = True
    key: str = "0" * 64

    def load(self, max_pixels=None):
        if not self.readable:
            raise PageError("the image cannot be decoded (truncated): save or fetch it again")
        image = Image.new("RGB", self.size, (200, 30, 30))
        if max_pixels is not None:
            share = min(1.0, (max_pixels / (self.size[0] * self.size[1])) ** 0.5)
            image = image.resize((int(self.size[0] * share), int(self.size[1] * share)))
        return image


@pytest.fixture
def picture():
    return Picture


@pytest.fixture
def pages():
    return [
        Page("docs/a.pdf", 1, "Berthing fees are 48 crowns.", Picture()),
        Page("docs/a.pdf", 2, "", Picture()),
        Page("docs/a.pdf", 3, None, Picture(readable=False)),
        Page("notes.txt", 1, "Only words here, about fees.", None),
    ]


@pytest.fixture
def result():
    ranking = (
        RankedPage(1, 0, "docs/a.pdf", 1, 0.93, "fused", 3, 1.5, "It lists the fees.", "Berthing fees are 48 crowns."),
        RankedPage(2, 1, "docs/a.pdf", 2, 0.5, "fused", 2, 1.7),
        RankedPage(3, 2, "docs/a.pdf", 3, 0.4, "fused", 1, 1.9),
        RankedPage(4, 3, "notes.txt", 1, 0.1, "fused", None, None, None, "Only words here, about fees."),
    )
    return RerankResult(
        "What are the fees?",
        "mini",
        "reason",
        "hybrid",
        4,
        ranking,
        reasoning="Image 1 has a table.",
        reply="<think>Image 1 has a table.</think><answer>[1, 1]</answer>",
        issues=(Issue.DUPLICATE, Issue.MISSING),
        timings_ms={"read": 12.0, "model": 2911.4},
        problems=(Problem("scan/cut.png", None, "it is cut off"),),
    )
