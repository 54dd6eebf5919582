import pytest

from mmr5.corpora import Corpus
from mmr5.corpora.folder import read_folder
from mmr5.types import Page
from support.corpora import gates, write_corpus
from support.tiny import Picture

TEXTS = [
    "Contents\nFees ..... 2\nRooms ..... 3",
    "2 Fees\nThe small plan costs 12 euros a month, the large plan 30 euros.",
    "3 Rooms\nThe reading room opens at nine and closes at six.",
    "4 Ordering\nPlans are ordered at the desk. Bring a card.",
    "",
    "6 History\nThe library was founded in 1901. Fees came later.",
]


class MemoryStore:
    """Pages that are made here: text and a picture whose key is its name."""

    def __init__(self, texts):
        self.texts = texts
        self.reads = 0

    def pages(self, document):
        self.reads += 1
        name = document.doc_name
        return [Page(f"{name}.pdf", i + 1, text, Picture(f"{name}:{i}")) for i, text in enumerate(self.texts[name])]


DOCUMENTS = [
    {"doc_name": "guide", "domain": "Guidebook", "pages": 6, "split": "train"},
    {"doc_name": "held", "domain": "News", "pages": 6, "split": "dev"},
]
QUESTIONS = [
    {
        "doc_name": "guide",
        "question": "What does the small plan cost?",
        "page_ids": [1],
        "why": {"1": "Gives the price of the small plan, 12 euros a month."},
        "near_misses": {"3": "Says how plans are ordered, but names no price."},
    },
    {
        "doc_name": "guide",
        "question": "When does the room open, and since when is there a library?",
        "page_ids": [5, 2],
        "why": {"2": "Says that the room opens at nine.", "5": "Says that it was founded in 1901."},
    },
    {"doc_name": "held", "question": "Where are plans ordered?", "page_ids": [3], "why": {"3": "Names the desk."}},
]
GISTS = [
    {"doc_name": "guide", "page_id": 0, "gist": "table of contents"},
    {"doc_name": "guide", "page_id": 2, "gist": "-r rooms"},
]


@pytest.fixture
def corpus(tmp_path):
    folder = write_corpus(tmp_path / "corpus", DOCUMENTS, QUESTIONS, GISTS)
    documents, questions, gists = read_folder(folder)
    return Corpus("toy", documents, questions, MemoryStore({"guide": TEXTS, "held": TEXTS}), gists)


@pytest.fixture
def pdf_corpus(tmp_path):
    return gates(tmp_path)
