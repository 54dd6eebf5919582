"""Many questions of a file in one process, and the first stage alone."""

import json
from pathlib import Path

import pytest

from mmr5 import Reranker, Searcher, read_pages
from mmr5.cli.questions import read_questions
from mmr5.errors import CapabilityError, InputError

REPORT = Path(__file__).parents[2] / "examples" / "harbour-report.pdf"
ASKED = ["What are the berthing fees?", "How many crane drivers work in the port?"]


def first_stage(*rest):
    return ("--model", "none", "--retriever", "bm25", "--ocr", "never", *rest)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "questions.txt"
    path.write_text("\n".join(["", ASKED[0], "  ", f"  {ASKED[1]}", ""]))
    return path


def test_one_object_a_question(run, file):
    code, out, err = run("rerank", "--questions", file, REPORT, *first_stage("--json", "--top-n", 2))
    found = [json.loads(line) for line in out.splitlines()]
    assert (code, [one["query"] for one in found]) == (0, ASKED)
    assert all(len(one["ranking"]) == 2 and one["n_pages"] == 12 for one in found)
    single = json.loads(run("rerank", ASKED[0], REPORT, *first_stage("--json", "--top-n", 2))[1])
    assert single["ranking"] == found[0]["ranking"]
    assert found[0]["ranking"][0]["page"] == 8
    assert found[0]["ranking"][0]["score_kind"] == "first_stage"
    assert found[0]["ranking"][0]["score"] == found[0]["ranking"][0]["first_stage_score"]
    assert "error" not in err


def test_a_table_a_question(run, file):
    code, out, _ = run("rerank", REPORT, "--questions", file, *first_stage())
    assert code == 0
    assert [out.index(question) for question in ASKED] == sorted(out.index(question) for question in ASKED)


def test_a_question_that_fails_takes_no_other_with_it(run, tmp_path):
    path = tmp_path / "q.jsonl"
    records = [{"question": " ", "qid": "x"}, {"question": ASKED[0], "qid": "y", "page_ids": [7]}]
    path.write_text("\n".join(map(json.dumps, records)))
    code, out, err = run("rerank", "--questions", path, REPORT, *first_stage("--json"))
    failed, found = (json.loads(line) for line in out.splitlines())
    assert code == 1
    assert failed == {"qid": "x", "query": " ", "error": "the question is empty: say what to look for"}
    assert (found["qid"], found["page_ids"], found["ranking"][0]["page"]) == ("y", [7], 8)
    assert "1 of 2 questions failed" in err


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "holds no question"),
        (b"\n \n", "holds no question"),
        (b"\xff\xfe\x00", "UTF-8"),
        (b'{"question": 3}', "line 1 is no object with a text"),
        (b'{"question": "a"}\nplain', "line 2 is not JSON"),
        (b'{"question": "a"}\n[1]', "line 2 is no object"),
    ],
)
def test_files_that_hold_no_questions(content, said, tmp_path):
    (tmp_path / "q").write_bytes(content)
    with pytest.raises(InputError, match=said):
        read_questions(tmp_path / "q")
    with pytest.raises(InputError, match="cannot be read"):
        read_questions(tmp_path / "away")


def test_arguments_that_do_not_go_together(run, file):
    for arguments, said in (
        (("rerank", "only a question"), "name at least one PDF"),
        (("rerank", REPORT, "Which berth?", *first_stage()), "the question comes first"),
        (("rerank", REPORT, "--questions", file, "--html", "x.html", *first_stage()), "leave out --html or --questions"),
    ):
        code, out, err = run(*arguments)
        assert (code, out) == (2, "")
        assert said in " ".join(err.split())


def test_no_model_leaves_the_first_stages_order():
    pages = read_pages(REPORT, ocr="never")
    reranker = Reranker.from_pretrained("none")
    assert (reranker.method, reranker.model, reranker.fingerprint) == ("none", "none", "none")
    result = Searcher(reranker, "bm25").search(ASKED[0], pages)
    assert [page.first_stage_rank for page in result] == list(range(1, 11))
    assert [page.score for page in result] == [page.first_stage_score for page in result]
    alone = reranker.rerank(ASKED[0], pages[:3])
    assert (alone.order, alone[0].score, alone[0].score_kind) == ((0, 1, 2), None, None)
    with pytest.raises(CapabilityError, match="engine 'none'"):
        Searcher(Reranker.from_pretrained("none", method="pointwise"), "bm25").search(ASKED[0], pages)


def test_what_fails_comes_in_its_place():
    pages = read_pages(REPORT, ocr="never")
    found = list(Searcher(Reranker.from_pretrained("none"), "bm25").search_each([ASKED[0], " ", ASKED[1]], pages))
    assert [isinstance(one, InputError) for one in found] == [False, True, False]
    assert found[0].ranking == Searcher(Reranker.from_pretrained("none"), "bm25").search(ASKED[0], pages).ranking
    with pytest.raises(InputError, match="no pages"):
        next(iter(Searcher(Reranker.from_pretrained("none"), "bm25").search_each(ASKED, [])))


def test_a_server_needs_a_model(run):
    code, _, err = run("serve", "--model", "none", "--port", "0")
    assert code == 2
    assert "name a model" in err
