"""Our numbers beside other people's: MMDocIR's own code (its numbers are stored) and ir_measures (run here)."""

import io
import json
from pathlib import Path

import ir_measures
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ir_measures import RR, nDCG
from PIL import Image

from mmr5 import Page
from mmr5.corpora.mmdocir import ANNOTATIONS, DOMAINS, LAYOUTS, PAGES, load_evaluation
from mmr5.evaluation.benchmark import evaluate
from mmr5.evaluation.runs import read_run
from mmr5.evaluation.statistics import question_scores
from mmr5.metrics import layout_recall, macro, micro, recall, score
from mmr5.retrieval import top_candidates
from mmr5.settings import EvaluationSettings

FIXTURE = json.loads((Path(__file__).parent / "fixtures" / "mmdocir_parity.json").read_text())
NEWS = "doc-09.pdf"


@pytest.fixture(autouse=True)
def _no_pictures(monkeypatch):
    """Numbers are compared here; pictures are drawn in test_report.py."""
    monkeypatch.setattr("mmr5.evaluation.browser.MOST_PICTURES", 0)


DEPTHS = {"page": (1, 3, 5), "layout": (1, 5, 10)}


def asked(without=()):
    """(document, question, page scores, layout scores) in file order."""
    at = iter(zip(FIXTURE["scores"], FIXTURE["layout_scores"], strict=True))
    rows = [(d, q, *next(at)) for d in FIXTURE["documents"] for q in d["questions"]]
    return [row for row in rows if row[0]["doc_name"] not in without]


def picture():
    buffer = io.BytesIO()
    Image.new("RGB", (20, 28), "white").save(buffer, "PNG")
    return buffer.getvalue()


def published(folder, without=()):
    """The fixture in the benchmark's three files."""
    folder.mkdir(parents=True)
    kept = [d for d in FIXTURE["documents"] if d["doc_name"] not in without]
    (folder / ANNOTATIONS).write_text("".join(json.dumps(d) + "\n" for d in kept))
    image = picture()
    pages = [
        {"doc_name": d["doc_name"][:-4], "domain": d["domain"], "passage_id": str(i), "image_path": "x", "image_binary": image,
         "ocr_text": f"page {i}", "vlm_text": "v"}
        for d in FIXTURE["documents"]
        for i in range(d["page_indices"][1] - d["page_indices"][0] + 1)
    ]  # fmt: skip
    layouts = [
        {"doc_name": name, "domain": "x", "type": "text", "layout_id": i, "page_id": page, "image_path": "x", "image_binary": image,
         "text": f"part {i}", "ocr_text": "", "vlm_text": "", "bbox": box, "page_size": [100, 140]}
        for i, (name, page, box) in enumerate(FIXTURE["layouts"])
    ]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(pages), folder / PAGES)
    pq.write_table(pa.Table.from_pylist(layouts), folder / LAYOUTS)
    return load_evaluation(folder)


def first_stage(path, corpus, level, without=()):
    """The fixture's scores as a TREC run that names every unit, in the order of the document."""
    rows = asked(without)
    lines = []
    for question, (_, _, pages, layouts) in zip(corpus.questions, rows, strict=True):
        for unit, value in enumerate(pages if level == "page" else layouts):
            lines.append(f"{question.qid} Q0 {question.doc_name}:{unit} 0 {value} fixture\n")
    path.write_text("".join(lines))
    return path


@pytest.mark.parametrize("level", ["page", "layout"])
@pytest.mark.parametrize(("case", "without"), [("ten_domains", ()), ("no_news", (NEWS,))])
def test_evaluation_gives_the_numbers_of_mmdocirs_own_code(tmp_path, level, case, without):
    """Ten domains, an empty one, ties, few pages, several relevant pages, a question asked twice; in its file formats."""
    corpus = published(tmp_path / "corpus", without)
    run = first_stage(tmp_path / "fixture.trec", corpus, level, without)
    setup = EvaluationSettings("mmdocir", retriever=str(run), model="none", candidates=10, level=level)
    scores = evaluate(setup, corpus, tmp_path / "out")
    for k in DEPTHS[level]:
        name = f"recall@{k}"
        exact = FIXTURE["expected"][case]["exact"][level][str(k)]
        for side in ("retriever", "reranked"):
            assert 100 * scores[side]["macro"][name] == pytest.approx(exact[10], abs=1e-9)
            assert 100 * scores[side]["micro"][name] == pytest.approx(exact[11], abs=1e-9)
        for domain, value in zip(DOMAINS, exact[:10], strict=True):
            found = scores["by_domain"].get(domain, {"retriever": {name: 0.0}})
            assert 100 * found["retriever"][name] == pytest.approx(value, abs=1e-9)
        shown = [round(100 * scores["retriever"][kind][name], 1) for kind in ("macro", "micro")]
        assert shown == FIXTURE["expected"][case]["printed"][level][str(k)][10:]
    assert scores["n_questions"] == len(asked(without))
    assert (tmp_path / "out" / "report.html").stat().st_size > 10_000


@pytest.mark.parametrize(("case", "without"), [("ten_domains", ()), ("no_news", (NEWS,))])
def test_metrics_alone_give_the_numbers_of_mmdocirs_own_code(case, without):
    """Without files or runs: the first stage's order (ties in page order) into the metrics."""
    rows = asked(without)
    for k in DEPTHS["page"]:
        values = {}
        for document, question, scores, _ in rows:
            order = top_candidates("q", [Page("d", i + 1) for i in range(len(scores))], scores, 10).indices
            values.setdefault(document["domain"], []).append(recall(order, question["page_id"], k))
        exact = FIXTURE["expected"][case]["exact"]["page"][str(k)]
        assert 100 * macro(values, DOMAINS) == pytest.approx(exact[10], abs=1e-9)
        assert 100 * micro(v for group in values.values() for v in group) == pytest.approx(exact[11], abs=1e-9)
    for k in DEPTHS["layout"]:
        found = []
        for document, question, _, scores in rows:
            held = FIXTURE["layouts"][document["layout_indices"][0] : document["layout_indices"][1] + 1]
            order = sorted(range(len(scores)), key=lambda i: -scores[i])
            retrieved = [(held[i][1], tuple(held[i][2])) for i in order]
            found.append(layout_recall(retrieved, [(m["page"], tuple(m["bbox"])) for m in question["layout_mapping"]], k))
        assert 100 * micro(found) == pytest.approx(FIXTURE["expected"][case]["exact"]["layout"][str(k)][11], abs=1e-9)


@pytest.mark.parametrize("level", ["page", "layout"])
def test_the_report_shows_the_benchmarks_own_pictures(tmp_path, monkeypatch, level):
    monkeypatch.setattr("mmr5.evaluation.browser.MOST_PICTURES", 40)
    corpus = published(tmp_path / "corpus")
    run = first_stage(tmp_path / "fixture.trec", corpus, level)
    evaluate(EvaluationSettings("mmdocir", retriever=str(run), model="oracle", level=level), corpus, tmp_path / "out")
    page = (tmp_path / "out" / "report.html").read_text()
    assert page.count("data:image/jpeg;base64,") == 40
    assert f'"layouts":{"true" if level == "layout" else "false"}' in page


def test_the_fixture_holds_what_it_promises():
    rows = asked()
    assert {d["domain"] for d, *_ in rows} == set(DOMAINS)
    assert {d["domain"] for d, *_ in asked((NEWS,))} == set(DOMAINS) - {"News"}
    assert any(len(set(scores)) < len(scores) for *_, scores, _ in rows)
    assert any(len(scores) < 10 for *_, scores, _ in rows)
    assert any(len(q["page_id"]) > 1 for _, q, *_ in rows)
    texts = [(d["doc_name"], q["Q"]) for d, q, *_ in rows]
    assert len(set(texts)) < len(texts)
    assert max(v for table in FIXTURE["expected"]["ten_domains"]["exact"]["layout"].values() for v in table) > 0


@pytest.mark.parametrize("level", ["page", "layout"])
def test_written_runs_score_the_same_in_ir_measures(tmp_path, level):
    """nDCG@5 and reciprocal rank, read back from our TREC files by another program, question by question."""
    corpus = published(tmp_path / "corpus")
    run = first_stage(tmp_path / "fixture.trec", corpus, level)
    evaluate(
        EvaluationSettings("mmdocir", retriever=str(run), model="random", given={"seed": 3}, level=level),
        corpus,
        tmp_path / "out",
    )
    qrels = list(ir_measures.read_trec_qrels(str(tmp_path / "out" / "qrels.trec")))
    ranked = list(ir_measures.read_trec_run(str(tmp_path / "out" / "run.trec")))
    theirs = {(m.query_id, str(m.measure)): m.value for m in ir_measures.iter_calc([nDCG @ 5, RR], qrels, ranked)}
    n = 0
    for line in read_run(tmp_path / "out"):
        if not line.relevant:
            continue
        ours = score(line.ranking, line.relevant)
        assert level == "layout" or ours == question_scores(line, line.ranking)
        assert ours["ndcg@5"] == pytest.approx(theirs[line.qid, "nDCG@5"], abs=1e-9)
        assert ours["mrr"] == pytest.approx(theirs[line.qid, "RR"], abs=1e-9)
        n += 1
    assert n == sum(bool(line.relevant) for line in read_run(tmp_path / "out")) > 30
