"""The wrapper under mteb's own runner, on a small task in memory."""

import datasets
import mteb
import pytest
from datasets import Dataset
from mteb.abstasks.retrieval import AbsTaskRetrieval
from mteb.abstasks.task_metadata import TaskMetadata
from mteb.models import CrossEncoderProtocol, EncoderProtocol, SearchProtocol

from mmr5 import Reranker
from mmr5.engines.scripted import ScriptedEngine
from mmr5.errors import InputError
from mmr5.integrations.mteb import MTEBReranker
from support.tiny import Picture

COLOURS = ("white", "red", "green", "blue", "black")
TOP = {"q0": ["d3", "d1", "d0"], "q1": ["d4", "d2", "d0", "d1"]}


def task(*, images=True, ranked=True):
    """Two questions over five pages; the only relevant one is never the first candidate."""

    class Small(AbsTaskRetrieval):
        metadata = TaskMetadata(
            name="SmallPages", description="x", reference="https://example.org", type="Reranking", category="t2it" if images else "t2t",
            modalities=["text", "image"] if images else ["text"], eval_splits=["test"], eval_langs=["eng-Latn"], main_score="ndcg_at_10",
            dataset={"path": "none/none", "revision": "1"}, date=("2025-01-01", "2025-02-01"), domains=["Written"], task_subtypes=[],
            license="mit", annotations_creators="human-annotated", dialect=[], sample_creation="created", bibtex_citation="", is_public=True,
        )  # fmt: skip

        def load_data(self, *_, **__):
            rows = [{"id": f"d{i}", "title": "Harbour", "text": f"The {c} page."} for i, c in enumerate(COLOURS)]
            corpus = Dataset.from_list(rows)
            if images:
                corpus = corpus.add_column("image", [{"bytes": Picture(c, color=c).png(), "path": None} for c in COLOURS])
                corpus = corpus.cast_column("image", datasets.Image())
            queries = Dataset.from_list([{"id": "q0", "text": "Which is red?"}, {"id": "q1", "text": "Which is green?"}])
            self.dataset = {"default": {"test": {
                "corpus": corpus, "queries": queries, "relevant_docs": {"q0": {"d1": 1}, "q1": {"d2": 1}},
                "top_ranked": TOP if ranked else None,
            }}}  # fmt: skip
            self.data_loaded = True

    return Small()


def scripted(replies, **options):
    engine = ScriptedEngine(replies)
    return engine, Reranker(engine, method="reason", **options)


def think(answer):
    return f"<think>I looked.</think><answer>{answer}</answer>"


def run(model, asked):
    return mteb.evaluate(model, asked, cache=None, show_progress_bar=False).task_results[0].scores["test"][0]


def test_mteb_takes_it_for_what_can_search():
    model = MTEBReranker(scripted([])[1])
    assert isinstance(model, SearchProtocol)
    assert not isinstance(model, (CrossEncoderProtocol, EncoderProtocol)), "or mteb would flatten the lists into pairs"


def test_lists_are_ranked_whole_by_mtebs_own_runner():
    _, reranker = scripted([think("[2, 1, 3]"), think("[2, 4, 1, 3]")], view="image")
    results = []
    scores = run(MTEBReranker(reranker, on_result=results.append), task())
    assert scores["ndcg_at_1"] == scores["recall_at_1"] == 1.0, "both answers put the relevant page first"
    assert [len(result) for result in results] == [3, 4], "each list at once"
    assert [result.order for result in results] == [(1, 0, 2), (1, 3, 0, 2)]


def test_a_worse_answer_scores_worse_and_a_broken_one_keeps_the_first_stage():
    _, reranker = scripted([think("[1, 3, 2]"), "no idea"], view="image")
    scores = run(MTEBReranker(reranker), task())
    assert scores["mrr_at_10"] == pytest.approx((1 / 3 + 1 / 2) / 2, abs=1e-4)
    assert scores["recall_at_1"] == 0.0


def test_pages_without_pictures_are_read_as_text():
    engine, reranker = scripted([think("[2, 1, 3]"), think("[2, 1, 3, 4]")], view="text")
    model = MTEBReranker(reranker, batch=1)
    assert run(model, task(images=False))["ndcg_at_1"] == 1.0
    assert "Harbour The red page." in str(engine.requests[0]), "title and text, as mteb's own loaders join them"


def test_scores_fall_strictly_and_stop_at_top_k():
    _, reranker = scripted([think("[2, 1, 3]"), think("[4, 3, 2, 1]")], view="image")
    model, small = MTEBReranker(reranker), task()
    small.load_data()
    held = small.dataset["default"]["test"]
    model.index(held["corpus"])
    found = model.search(held["queries"], top_k=2, top_ranked=TOP)
    assert found == {"q0": {"d1": 1.0, "d3": 0.5}, "q1": {"d1": 1.0, "d0": 0.5}}


def test_a_question_without_candidates_has_none():
    _, reranker = scripted([think("[1]")], view="image")
    model, small = MTEBReranker(reranker), task()
    small.load_data()
    held = small.dataset["default"]["test"]
    model.index(held["corpus"])
    assert model.search(held["queries"], top_k=10, top_ranked={"q1": ["d2"]}) == {"q0": {}, "q1": {"d2": 1.0}}


def test_what_cannot_be_reranked_is_refused():
    _, reranker = scripted([], view="image")
    model, small = MTEBReranker(reranker), task()
    small.load_data()
    held = small.dataset["default"]["test"]
    with pytest.raises(InputError, match="before index"):
        model.search(held["queries"], top_k=1, top_ranked=TOP)
    model.index(held["corpus"])
    with pytest.raises(InputError, match="no candidates"):
        model.search(held["queries"], top_k=1)
    with pytest.raises(InputError, match="'d9', which the corpus does not hold"):
        model.search(held["queries"], top_k=1, top_ranked={"q0": ["d9"]})
    with pytest.raises(InputError, match="only questions of words"):
        model.search(Dataset.from_list([{"id": "q0", "text": ""}]), top_k=1, top_ranked=TOP)
    with pytest.raises(InputError, match="batch"):
        MTEBReranker(reranker, batch=0)


def test_results_are_filed_under_the_models_name_and_settings():
    meta = MTEBReranker("i2vec/MM-R5", engine="scripted", method="reason", view="image").mteb_model_meta
    assert meta.name == "i2vec/MM-R5"
    assert meta.experiment_kwargs["method"] == "reason"
    assert len(meta.experiment_kwargs["prompt"]) == 16
    assert meta.modalities == ["text", "image"]
    assert MTEBReranker(scripted([])[1]).mteb_model_meta.name == "mmr5/scripted"
    assert MTEBReranker(scripted([])[1], name="me/mine").mteb_model_meta.name == "me/mine"


def test_the_public_benchmark_is_made_of_tasks_that_bring_their_candidates():
    """ViDoRe's tasks are of the class that the small one is of, and of the kind that has ``top_ranked``."""
    tasks = mteb.get_benchmark("ViDoRe(v3.1, reranking)").tasks
    assert tasks
    assert all(
        isinstance(t, AbsTaskRetrieval) and t.metadata.type == "Reranking" and "image" in t.metadata.modalities for t in tasks
    )
