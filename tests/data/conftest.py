import json

import pytest

from mmr5.corpora import Corpus
from mmr5.corpora.folder import read_folder
from mmr5.types import Page
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


def write_corpus(folder, documents, questions, gists=()):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "docs.json").write_text(json.dumps(documents))
    (folder / "questions.jsonl").write_text("".join(json.dumps(q) + "\n" for q in questions))
    if gists:
        (folder / "gists.jsonl").write_text("".join(json.dumps(g) + "\n" for g in gists))
    return folder


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


def draw_pdf(path, texts):
    """A PDF with one line of text a page."""
    parts = ["<< /Type /Catalog /Pages 2 0 R >>", None, "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>"]
    kids = []
    for text in texts:
        lines = "".join(f"({line}) Tj 0 -16 Td " for line in text.split("\n"))
        stream = f"BT /F1 12 Tf 20 160 Td {lines}ET"
        parts += [
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 200 200] /Contents {len(parts) + 2} 0 R /Resources << /Font << /F1 3 0 R >> >> >>",
            f"<< /Length {len(stream)} >>\nstream\n{stream}\nendstream",
        ]
        kids.append(len(parts) - 1)
    parts[1] = f"<< /Type /Pages /Kids [{' '.join(f'{k} 0 R' for k in kids)}] /Count {len(kids)} >>"
    data, places = b"%PDF-1.4\n", []
    for number, part in enumerate(parts, start=1):
        places.append(len(data))
        data += f"{number} 0 obj\n{part}\nendobj\n".encode()
    table = "".join(f"{place:010} 00000 n \n" for place in places)
    data += f"xref\n0 {len(parts) + 1}\n0000000000 65535 f \n{table}trailer << /Size {len(parts) + 1} /Root 1 0 R >>\nstartxref\n{len(data)}\n%%EOF\n".encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


@pytest.fixture
def pdf_corpus(tmp_path):
    """A corpus folder with one PDF of eight pages and four questions."""
    colours = ["red", "green", "blue", "white", "black", "brown", "grey", "pink"]
    draw_pdf(
        tmp_path / "gates" / "pdf" / "gates.pdf",
        [f"Gate number {i} of the old town\nIt is painted {c} on both sides." for i, c in enumerate(colours)],
    )
    questions = [
        {
            "doc_name": "gates",
            "question": f"What colour has gate {i}?",
            "page_ids": [i],
            "why": {str(i): f"Says that it is {colours[i]}."},
        }
        for i in (0, 2, 5, 7)
    ]
    documents = [{"doc_name": "gates", "domain": "none", "pages": 8, "split": "train"}]
    return write_corpus(tmp_path / "gates", documents, questions)
