"""A rerank result in a notebook."""

from __future__ import annotations

from mmr5.render.html import environment
from mmr5.render.labels import NOT_HERE
from mmr5.render.overlay import marks
from mmr5.render.thumbnails import page_uri
from mmr5.types import RerankResult

MOST_SHOWN = 10
"""Pages that are shown; the others are counted."""
PIXELS = 120_000


def notebook_html(result: RerankResult) -> str:
    """The pages in order as HTML without scripts: picture with the evidence marked, relevance or score, evidence.

    Args:
        result: what was found; pages that it does not hold have no picture.
    """
    pages = dict(zip((line.index for line in result), result.pages, strict=False))
    cards = [
        {
            "line": line,
            "picture": page_uri(pages[line.index], PIXELS) if line.index in pages else None,
            "marks": marks(box for passage in line.evidence_passages for box in passage.boxes),
        }
        for line in result.ranking[:MOST_SHOWN]
    ]
    template = environment().get_template("notebook.html")
    return template.render(result=result, cards=cards, not_here=NOT_HERE, more=max(0, len(result) - MOST_SHOWN))
