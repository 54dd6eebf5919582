from pathlib import Path

import pytest

from mmr5 import Index, Page, Reranker, Searcher
from mmr5.answer import format_reply
from mmr5.engines.scripted import ScriptedEngine

REPORT = Path(__file__).parents[2] / "examples" / "harbour-report.pdf"
TEXTS = ["Contents: fees, cargo, seals.", "The berthing fees for yachts rise to 31 euros.", "Cargo by terminal: 12,000 tonnes."]
QUESTION = "What are the berthing fees for yachts?"


@pytest.fixture
def reader():
    """A model that reads text and has a score for every page: the share of the question's words on it."""
    return Reranker(ScriptedEngine(), view="text", method="likelihood")


@pytest.fixture
def reasoner():
    """A model that thinks: it puts the pages in the order given, with a sentence on each."""

    def make(order, view="text", label=None):
        label = label or ("Image" if view == "image" else "Page")
        engine = ScriptedEngine([format_reply(order, [f"note on {i}" for i in range(len(order))], label=label)])
        return Reranker(engine, view=view, method="reason")

    return make


def pictures_seen(reranker):
    """How many pictures stood in the prompts that an engine was given."""
    return sum(part["type"] == "image" for r in reranker.engine.requests for m in r.messages for part in m["content"])


@pytest.fixture
def searcher(tmp_path, reader):
    """A searcher over a stored collection of two documents."""
    index = Index.open(tmp_path / "port.index", create=True, retriever="bm25")
    index.add_pages([Page("a.pdf", i + 1, text) for i, text in enumerate(TEXTS)], metadata={"year": 2024})
    index.add_pages([Page("b.pdf", 1, "Nothing about it.")], metadata={"year": 1999})
    return Searcher(reader, index=index)
