import json
import uuid

import pytest

from support.corpora import draw_pdf


@pytest.fixture
def home(tmp_path):
    home = tmp_path / "docs"
    home.mkdir()
    draw_pdf(home / "fees.pdf", ["Harbour fees are 31 euros.", "Dredging began in 1931."])
    (home / "notes.md").write_text("# Fog bell\n\nA diver brought up the fog bell for 12 crowns.\n")
    return home


@pytest.fixture
def index(run, home, tmp_path):
    """An index by words alone."""
    place = tmp_path / "docs.index"
    code, out, err = run("index", "add", place, home, "--retriever", "bm25", "--meta", "year=2024", "--meta", "team=harbour")
    assert code == 0, err
    assert out.strip() == (f"2 documents added, 0 updated, 0 unchanged; 3 pages read. {place} holds 2 documents with 3 pages")
    return place


def test_add_list_stats_remove(run, home, index, tmp_path):
    code, out, _ = run("index", "add", index, home)
    assert code == 0 and out.startswith("0 documents added, 0 updated, 2 unchanged; 0 pages read.")
    code, out, _ = run("index", "list", index)
    assert code == 0 and "fees.pdf" in out and "year = 2024, team = harbour" in out
    code, out, _ = run("index", "list", index, "--where", "kind = pdf", "--json")
    [line] = [json.loads(line) for line in out.splitlines()]
    assert (line["source"], line["pages"], line["metadata"]) == ("fees.pdf", 2, {"year": 2024.0, "team": "harbour"})
    assert line["path"] == str(home / "fees.pdf")
    code, out, _ = run("index", "stats", index, "--json")
    found = json.loads(out)
    assert (found["documents"], found["pages"], found["retriever"], found["exact"]) == (2, 3, "bm25", True)
    code, out, _ = run("index", "stats", index)
    assert code == 0 and "first stage bm25, every vector compared" in out
    facts = tmp_path / "facts.jsonl"
    facts.write_text(json.dumps({"source": "notes.md", "year": 1931}) + "\n")
    code, out, _ = run("index", "add", index, home, "--meta-file", facts, "--json")
    assert json.loads(out)["updated"] == 2
    code, out, _ = run("index", "list", index, "--where", "year < 2000", "--json")
    assert [json.loads(line)["source"] for line in out.splitlines()] == ["notes.md"]
    code, out, err = run("index", "remove", index, "notes.md")
    assert (code, out.strip()) == (0, "1 document with 1 page removed")
    code, out, err = run("index", "remove", index, "notes.md")
    assert code == 1 and "no document 'notes.md'" in err and (home / "notes.md").exists()


def test_search_gives_what_rerank_gives(run, home, index):
    question = "What was paid for the fog bell?"
    code, out, err = run("search", question, "--index", index, "--model", "none", "--json")
    assert code == 0, err
    stored = json.loads(out)
    code, out, _ = run("rerank", question, home, "--model", "none", "--retriever", "bm25", "--json")
    given = json.loads(out)
    for one in (stored, given):
        one.pop("timings_ms")
        for line in one["ranking"]:
            line["score"], line["first_stage_score"] = round(line["score"], 5), round(line["first_stage_score"], 5)
    assert stored == given
    assert stored["ranking"][0]["source"] == "notes.md" and stored["n_pages"] == 3


def test_search_filters_reports_and_answers_questions_of_a_file(run, home, index, tmp_path):
    code, out, _ = run("search", "fog bell", "--index", index, "--model", "none", "--where", "kind = pdf", "--json")
    assert {line["source"] for line in json.loads(out)["ranking"]} == {"fees.pdf"}
    code, out, _ = run("search", "fog bell", "--index", index, "--model", "none", "--where", "page = 9", "--json")
    assert code == 0 and json.loads(out)["ranking"] == []
    report = tmp_path / "report.html"
    code, out, err = run("search", "harbour fees", "--index", index, "--model", "none", "--html", report)
    assert code == 0 and "fees.pdf" in out and "31 euros" in report.read_text()
    asked = tmp_path / "questions.txt"
    asked.write_text("fog bell\nharbour fees\n")
    code, out, err = run("search", "--index", index, "--model", "none", "--questions", asked, "--json", "--top-n", "1")
    assert code == 0, err
    assert [json.loads(line)["ranking"][0]["source"] for line in out.splitlines()] == ["notes.md", "fees.pdf"]
    (home / "notes.md").unlink()
    code, out, err = run("search", "fog bell", "--index", index, "--model", "none", "--json", "--top-n", "1")
    assert code == 0 and "warning: notes.md: its file is not at" in err
    assert [problem["source"] for problem in json.loads(out)["problems"]] == ["notes.md"]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("search", "fog", "--index", "nowhere.index"), 1, "no index at 'nowhere.index': make one with mmr5 index add"),
        (("search", "--index", "INDEX"), 2, "give a question, or --questions FILE"),
        (("search", " ", "--index", "INDEX", "--model", "none"), 1, "the question is empty"),
        (("search", "fog", "--index", "INDEX", "--model", "none", "--where", "colour = red"), 2, "which no document has"),
        (
            ("search", "fog", "--index", "INDEX", "--model", "none", "--retriever", "dense"),
            2,
            "holds nothing for the first stage",
        ),
        (("index", "add", "INDEX", "HOME", "--meta", "year"), 2, "'year' is no name=value"),
        (("index", "add", "INDEX", "HOME", "--meta", "source=x"), 2, "cannot be called 'source'"),
        (("index", "add", "INDEX", "nothing.pdf"), 1, "nothing could be added: nothing.pdf: no such file"),
        (("index", "add", "INDEX", "HOME", "--retriever", "hybrid"), 2, "was made for the first stage 'bm25'"),
        (("index", "list", "nowhere.index"), 1, "no index at"),
    ],
)
def test_what_is_wrong_is_said(run, home, index, arguments, code, said):
    given = [{"INDEX": str(index), "HOME": str(home)}.get(one, one) for one in arguments]
    found, _, err = run(*given)
    assert found == code and said in " ".join(err.split()), err


def test_embedding_may_wait(run, home, tmp_path, real_cache):
    place = tmp_path / "late.index"
    (home / "notes.md").write_text(f"# Fog bell\n\nA diver brought up the fog bell for 12 crowns, says {uuid.uuid4()}.\n")
    assert run("index", "add", place, home, "--retriever", "dense", "--no-embed")[0] == 0
    waiting = json.loads(run("index", "stats", place, "--json")[1])["waiting"]
    assert waiting >= 1 and f"waiting     {waiting} pages are found by words alone" in run("index", "stats", place)[1]
    assert run("index", "embed", place)[1] == f"{waiting} page{'s' if waiting > 1 else ''} embedded\n"
    assert json.loads(run("index", "stats", place, "--json")[1])["waiting"] == 0
