"""Fitting what scores mean: on data whose truth is known, and from documents to a recipe."""

import json
import random

import pytest

from mmr5.errors import ConfigError, CorpusError
from mmr5.evaluation.calibration import ABOVE_ALL, Asked, collect, every_fifth, fit, row_of
from mmr5.models.recipes import load_recipe
from mmr5.relevance import Setting
from mmr5.types import logistic
from support.corpora import draw_pdf, write_corpus

HERE = Setting("pointwise", "text", "hybrid", 1.0)


def drawn(n=600, seed=0):
    """Lists whose pages are relevant with the probability logistic(1.5 s - 1)."""
    draw = random.Random(seed)
    rows = []
    for k in range(n):
        scores = sorted((draw.gauss(0, 2) for _ in range(6)), reverse=True)
        relevant = tuple(draw.random() < logistic(1.5 * s - 1) for s in scores)
        rows.append(Asked(f"q{k}", f"d{k % 25}", "answerable" if any(relevant) else "hard", tuple(scores), relevant))
        rows.append(Asked(f"f{k}", f"d{k % 25}", "foreign", tuple(s - 9 for s in scores), (False,) * 6))
    return rows


def test_the_truth_is_found_where_it_is_logistic():
    rows = [row for row in drawn() if row.kind != "foreign"]
    found = fit(rows, HERE, "drawn")
    assert found.slope == pytest.approx(1.5, abs=0.15)
    assert found.intercept == pytest.approx(-1.0, abs=0.15)
    quality = found.figures["relevance"]
    assert quality["all"]["ece"] < 0.02
    assert quality["first"]["ece"] < 0.06, "a score that says all there is to know is right on first pages, too"
    assert quality["all"]["brier_skill"] > 0.4
    assert quality["first"]["n"] == 600


def test_questions_of_other_documents_are_told_apart_and_the_cuts_keep_what_they_say():
    rows = drawn()
    found = fit(rows, HERE, "drawn")
    assert found.figures["answerable"]["foreign"]["auroc"] > 0.98
    verdicts = [(row.kind, found.answerable(row.scores)) for row in rows]
    kept = [v.verdict != "no" for kind, v in verdicts if kind == "answerable"]
    assert sum(kept) / len(kept) == pytest.approx(0.95, abs=0.015)
    sure = [kind == "answerable" for kind, v in verdicts if v.verdict == "yes" and kind != "foreign"]
    assert sum(sure) / len(sure) > 0.88
    assert sum(v.verdict == "no" for kind, v in verdicts if kind == "foreign") / 600 > 0.9


def test_no_cut_where_none_is_good_enough():
    rows = [
        Asked(f"q{k}", f"d{k}", "answerable" if k % 2 else "hard", (float(k % 7), 0.0), (bool(k % 2), False)) for k in range(40)
    ]
    assert fit(rows, HERE, "chance").yes_from in (ABOVE_ALL, pytest.approx(0.5, abs=0.2))


def test_too_little_is_refused():
    with pytest.raises(ConfigError, match="4 documents are too few"):
        fit([row for row in drawn(100) if row.doc_name in ("d1", "d2", "d3", "d4")], HERE, "")
    with pytest.raises(ConfigError, match="of one kind"):
        fit([row for row in drawn(100) if row.kind == "answerable"], HERE, "")
    with pytest.raises(CorpusError, match="is no line of mmr5 calibrate"):
        row_of({"qid": "a"}, "scores.jsonl, line 1")
    assert every_fifth(["b", "a", "b", "c"]) == {"a": 0, "b": 1, "c": 2}


@pytest.fixture
def shelves(tmp_path):
    """Six documents of four pages with questions, one of them without an answer."""
    things = ["kettle", "ladder", "window", "carpet"]
    asked, documents = [], []
    for k in range(6):
        name = f"house{k}"
        draw_pdf(
            tmp_path / "corpus" / "pdf" / f"{name}.pdf", [f"The {t} of house {k} is on shelf {i}." for i, t in enumerate(things)]
        )
        documents.append({"doc_name": name, "domain": "none", "pages": 4})
        asked += [
            {"doc_name": name, "question": f"Where is the {t} of house {k}?", "page_ids": [i]} for i, t in enumerate(things)
        ]
        asked.append({"doc_name": name, "question": "Who painted the ceiling?", "page_ids": [], "kind": "missing_detail"})
    return write_corpus(tmp_path / "corpus", documents, asked)


def test_from_documents_to_a_recipe(shelves, tmp_path, capsys, monkeypatch):
    from mmr5.cli.main import main

    def run(*arguments):
        with pytest.raises(SystemExit) as stop:
            main([str(a) for a in arguments])
        return stop.value.code, capsys.readouterr()

    options = ["--corpus", shelves, "--retriever", "bm25", "--out", tmp_path / "out"]
    code, said = run("calibrate", "none", *options, "--json")
    assert code == 0, said.err
    [found] = json.loads((tmp_path / "out" / "calibration.json").read_text())
    assert found == json.loads(said.out)
    assert found["setting"] == {"method": "none", "view": "text", "retriever": "bm25", "fusion": None, "scope": "document"}
    assert found["figures"]["questions"] == {"answerable": 24, "foreign": 18, "hard": 6}
    [measured] = (tmp_path / "out").glob("scores-document-*.jsonl")
    assert len(measured.read_text().splitlines()) == 48
    monkeypatch.setattr("mmr5.corpora.records.Corpus.document_pages", lambda *_: pytest.fail("asked again"))
    assert run("calibrate", "none", *options)[0] == 0
    monkeypatch.undo()
    measured.write_text("\n".join(measured.read_text().splitlines()[:20]) + '\n{"qid": "hou')
    assert run("calibrate", "none", *options)[0] == 0, "a killed run goes on with the questions that are missing"
    assert len(measured.read_text().splitlines()) == 48
    assert run("calibrate", "none", *options, "--candidates", "2")[0] == 0
    assert len(list((tmp_path / "out").glob("scores-document-*.jsonl"))) == 2, "other settings are measured anew"
    code, said = run("calibrate", "none", "--corpus", shelves, "--retriever", "bm25")
    assert code == 2
    assert "name a folder for the result (--out)" in said.err
    pdf = shelves / "pdf" / "house0.pdf"
    asked = ("rerank", "Where is the ladder of house 0?", pdf, "--model", "none", "--retriever", "bm25", "--json")
    code, said = run(*asked, "--calibration", tmp_path / "out" / "calibration.json", "--min-relevance", "0.5")
    assert code == 0
    shown = json.loads(said.out)
    assert [line["page"] for line in shown["ranking"]] == [2]
    assert shown["answerable"]["verdict"] in ("yes", "unsure")
    code, said = run(*asked, pdf.with_name("house1.pdf"), "--min-relevance", "0.5")
    assert code == 2
    assert "needs a calibration" in said.err


def test_a_checkpoints_recipe_is_written(shelves, tmp_path, tiny_text, capsys):
    import shutil

    from mmr5.cli.main import main
    from mmr5.models import Recipe

    folder = tmp_path / "model"
    shutil.copytree(tiny_text, folder)
    (folder / "recipe.json").write_text(Recipe(method="likelihood", view="text", fusion=0.5).to_json())
    for scope in ([], ["--pool"], []):
        with pytest.raises(SystemExit) as stop:
            main(["calibrate", str(folder), "--corpus", str(shelves), "--retriever", "bm25", "--dtype", "float32", *scope])
        assert stop.value.code == 0, capsys.readouterr().err
    recipe = load_recipe(folder)
    assert [one.setting.scope for one in recipe.calibrations] == ["pooled", "document"]
    assert {one.setting.method for one in recipe.calibrations} == {"likelihood"}
    assert recipe.fusion == 0.5
    [pooled] = (folder / "calibration").glob("scores-pooled-*.jsonl")
    assert len(pooled.read_text().splitlines()) == 30


def test_a_method_without_scores_cannot_be_calibrated(shelves, tmp_path):
    from mmr5 import Reranker, Searcher
    from mmr5.corpora import load_corpus
    from mmr5.engines.scripted import ScriptedEngine
    from mmr5.types import Ranking

    searcher = Searcher(Reranker(ScriptedEngine(), view="text"), "bm25")
    searcher.rank = lambda batch: [Ranking(tuple(range(len(c)))) for c in batch]
    with pytest.raises(ConfigError, match="gives no scores"):
        collect(load_corpus(str(shelves)), searcher, tmp_path / "scores.jsonl")
