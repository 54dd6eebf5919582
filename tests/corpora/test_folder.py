import json

import pytest

from mmr5.corpora import load_corpus
from mmr5.corpora.records import qids
from mmr5.errors import ConfigError, CorpusError, MMR5Warning
from mmr5.types import Page, Problem
from support.corpora import draw_pdf, write_corpus


def broken(pdf_corpus, name, change):
    path = pdf_corpus / name
    if name == "docs.json":
        records = json.loads(path.read_text())
        change(records)
        path.write_text(json.dumps(records))
    else:
        records = [json.loads(line) for line in path.read_text().splitlines()]
        change(records)
        path.write_text("".join(json.dumps(r) + "\n" for r in records))


def test_a_folder_is_a_corpus_with_qids_in_file_order(pdf_corpus):
    corpus = load_corpus(pdf_corpus)
    assert [q.qid for q in corpus.questions] == ["gates#0", "gates#1", "gates#2", "gates#3"] and corpus.name == "gates"
    pages = corpus.document_pages("gates")
    assert len(pages) == 8 and "painted blue" in pages[2].text and pages[2].number == 3
    assert qids(["a", "b", "a"]) == ["a#0", "b#0", "a#1"]
    with pytest.raises(CorpusError, match="no questions of split 'dev'; its splits: train"):
        corpus.split("dev")
    assert corpus.split("train").questions == corpus.questions


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("docs.json", lambda r: r.clear(), "at least one document"),
        ("docs.json", lambda r: r[0].update(pages=0), "document 1: pages is 0"),
        ("docs.json", lambda r: r[0].update(doc_name="a/b"), "use no slashes"),
        ("docs.json", lambda r: r.append(r[0]), "used twice"),
        ("docs.json", lambda r: r.append(1), "document 2: expected one JSON object"),
        ("docs.json", lambda r: r[0].update(domain=3), "domain is 3"),
        ("questions.jsonl", lambda r: r.clear(), "holds no questions"),
        (
            "questions.jsonl",
            lambda r: r[1].update(page_ids=[8]),
            r"line 2: page_ids holds 8; gates has 8 pages, zero-based 0\.\.7",
        ),
        ("questions.jsonl", lambda r: r[1].update(page_ids=None), r"line 2: page_ids is None: give a list .* \[\] where no page"),
        ("questions.jsonl", lambda r: r[1].update(quotes={"0": "words"}), "quotes names page 0, which is not in page_ids"),
        ("questions.jsonl", lambda r: r[1].update(corrected_by=[0]), r"corrected_by is \[0\]"),
        ("questions.jsonl", lambda r: r[1].update(page_ids=[], corrected_by=[99]), "corrected_by holds 99"),
        ("questions.jsonl", lambda r: [x.update(qid="mine") for x in r[1:3]], "questions 2 and 3 have the same qid 'mine'"),
        ("questions.jsonl", lambda r: r[1].update(qid="gates#0"), "questions 1 and 2 have the same qid 'gates#0'"),
        ("questions.jsonl", lambda r: r[1].update(language=3), "language is 3"),
        ("questions.jsonl", lambda r: r[1].update(page_ids=[1, 1]), "name each page once"),
        ("questions.jsonl", lambda r: r[1].update(page_ids=[True]), "holds True"),
        ("questions.jsonl", lambda r: r[1].update(doc_name="x"), "not in docs.json"),
        ("questions.jsonl", lambda r: r[1].update(question=" "), "question is ' '"),
        ("questions.jsonl", lambda r: r[1].update(near_misses={"2": "no"}), "one or the other"),
        ("questions.jsonl", lambda r: r[1].update(why={"x": "no"}), "why holds 'x'"),
        ("questions.jsonl", lambda r: r[1].update(why=["no"]), "no object of the form"),
    ],
)
def test_a_broken_folder_is_named_by_file_line_and_value(pdf_corpus, name, change, said):
    broken(pdf_corpus, name, change)
    with pytest.raises(CorpusError, match=said):
        load_corpus(pdf_corpus)


def test_every_field_of_a_question_is_read(pdf_corpus):
    def change(records):
        records[1].update(qid="own", language="de", quotes={str(records[1]["page_ids"][0]): "painted blue"})
        near = {"2": "speaks of the paint alone"}
        records.append(
            {"doc_name": "gates", "question": "Who paid?", "page_ids": [], "kind": "missing_detail", "near_misses": near}
        )
        records[-1]["corrected_by"] = [3]

    broken(pdf_corpus, "questions.jsonl", change)
    broken(pdf_corpus, "docs.json", lambda r: r[0].update(language="en"))
    found = load_corpus(pdf_corpus).questions
    assert [q.qid for q in found] == ["gates#0", "own", "gates#2", "gates#3", "gates#4"]
    assert [q.language for q in found] == ["en", "de", "en", "en", "en"]
    assert list(found[1].quotes.values()) == ["painted blue"]
    assert [q.answerable for q in found] == [True] * 4 + [False]
    assert (found[4].kind, found[4].corrected_by, found[4].near_misses) == (
        "missing_detail",
        (3,),
        {2: "speaks of the paint alone"},
    )


def test_a_pdf_with_other_pages_than_recorded_is_refused(pdf_corpus):
    broken(pdf_corpus, "docs.json", lambda r: r[0].update(pages=9))
    with pytest.raises(CorpusError, match="has 8 pages, and its record says 9"):
        load_corpus(pdf_corpus).document_pages("gates")
    (pdf_corpus / "pdf" / "gates.pdf").unlink()
    with pytest.raises(CorpusError, match="is missing"):
        load_corpus(pdf_corpus).document_pages("gates")
    with pytest.raises(CorpusError, match="no document 'x'"):
        load_corpus(pdf_corpus).document_pages("x")
    with pytest.raises(CorpusError, match="there is no corpus"):
        load_corpus(pdf_corpus / "nowhere")


def test_page_text_is_a_choice_of_mmdocir_alone(pdf_corpus):
    with pytest.raises(ConfigError, match="page_text is 'odd': use ocr or vlm"):
        load_corpus(pdf_corpus, page_text="odd")
    with pytest.raises(ConfigError, match="has one text a page"):
        load_corpus(pdf_corpus, page_text="vlm")


def test_a_page_that_cannot_be_read_stands_empty_so_that_ids_keep_their_meaning(pdf_corpus, monkeypatch):
    def some(path, *, on_problem, **_):
        on_problem(Problem("gates.pdf", 8, "is damaged"))
        return [Page("x", 1, "one"), Page("x", 3, "three")]

    monkeypatch.setattr("mmr5.pages.read_pages", some)
    with pytest.warns(MMR5Warning, match="is damaged"):
        pages = load_corpus(pdf_corpus).document_pages("gates")
    assert [p.text for p in pages] == ["one", "", "three", "", "", "", "", ""]
    assert [(p.source, p.number) for p in pages] == [("gates.pdf", i + 1) for i in range(8)]


@pytest.fixture
def doors(pdf_corpus):
    """A second corpus, whose document has another name and fewer pages."""
    folder = pdf_corpus.parent / "doors"
    draw_pdf(folder / "pdf" / "doors.pdf", ["A door of oak.", "A door of ash."])
    question = {"doc_name": "doors", "question": "Which door is of ash?", "page_ids": [1]}
    return write_corpus(folder, [{"doc_name": "doors", "domain": "wood", "pages": 2, "split": "dev"}], [question])


def test_corpora_by_comma_are_one(pdf_corpus, doors):
    corpus = load_corpus(f"{pdf_corpus}, {doors}")
    assert [q.qid for q in corpus.questions] == ["gates#0", "gates#1", "gates#2", "gates#3", "doors#0"]
    assert "painted blue" in corpus.document_pages("gates")[2].text and corpus.document_pages("doors")[1].text == "A door of ash."
    assert [d.doc_name for d in corpus.split("dev").documents] == ["doors"]
    with pytest.raises(CorpusError, match="document 'gates' is in gates and in gates: rename one"):
        load_corpus(f"{pdf_corpus},{pdf_corpus}")
    with pytest.raises(CorpusError, match="there is no corpus 'nothing'"):
        load_corpus(f"{pdf_corpus},nothing")


def test_a_folder_with_a_comma_in_its_name_is_one_corpus(pdf_corpus):
    assert load_corpus(pdf_corpus.rename(pdf_corpus.parent / "a,b")).name == "a,b"
