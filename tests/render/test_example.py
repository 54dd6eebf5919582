"""The example document: its size, its scan, and questions whose gold pages hold the answer."""

import json
from pathlib import Path

import pypdfium2
import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
ANSWERS = {4: "common eider", 5: "212 148 301 387", 6: None, 9: "412", 11: None}  # None: in a picture


@pytest.fixture(scope="module")
def texts():
    with pypdfium2.PdfDocument(EXAMPLES / "harbour-report.pdf") as document:
        return [page.get_textpage().get_text_range() for page in document]


def test_the_document_is_small_and_its_scan_has_no_text_layer(texts):
    assert (EXAMPLES / "harbour-report.pdf").stat().st_size < 700_000
    assert len(texts) == 12
    assert [number for number, text in enumerate(texts, 1) if not text.strip()] == [11]


def test_every_question_has_one_page_that_answers_it(texts):
    questions = json.loads((EXAMPLES / "questions.json").read_text(encoding="utf-8"))
    assert {q["page"] for q in questions} == set(ANSWERS)
    for question in questions:
        answer = ANSWERS[question["page"]]
        if answer is not None:
            assert [n for n, text in enumerate(texts, 1) if answer in " ".join(text.split())] == [question["page"]]
    assert not any("14.6" in text or "salt herring" in text for text in texts)
