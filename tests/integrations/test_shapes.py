"""The shapes of `rerankers` and of sentence-transformers, over text, pictures and both."""

import asyncio
import base64
import io

import numpy as np
import pytest
from PIL import Image

from integrations.conftest import QUESTION, TEXTS, pictures_seen
from mmr5 import Page, Reranker
from mmr5.engines.scripted import ScriptedEngine
from mmr5.errors import InputError
from mmr5.integrations.rerankers import MMR5Ranker
from mmr5.integrations.sentence_transformers import MMR5CrossEncoder


def test_rerankers_rank(reasoner):
    found = MMR5Ranker(reasoner([1, 2, 0])).rank(QUESTION, TEXTS, doc_ids=["a", "b", "c"], metadata=[{"n": i} for i in range(3)])
    assert [r.doc_id for r in found] == ["b", "c", "a"]
    assert [r.rank for r in found] == [1, 2, 3]
    assert (found[0].text, found[0].metadata, found[0].reason) == (TEXTS[1], {"n": 1}, "note on 1")
    assert found.top_k(1) == [found[0]]
    assert found.results_count() == len(found) == 3
    assert found.get_score_by_docid("a") == found[2].score < found[1].score
    assert found.get_result_by_docid("c") is found[1]
    assert found.get_score_by_docid("nobody") is None
    assert found.query == QUESTION
    assert "note on 0" in found.reasoning


def test_rerankers_takes_every_form_and_numbers_documents(reasoner, picture, tmp_path):
    (tmp_path / "p.png").write_bytes(picture())
    image = Image.open(io.BytesIO(picture("x")))
    docs = [
        tmp_path / "p.png",
        picture("b"),
        base64.b64encode(picture("c")).decode(),
        image,
        {"text": "t", "image": picture("d")},
    ]
    seer = reasoner([4, 3, 2, 1, 0], view="image")
    found = MMR5Ranker(seer).rank("q", docs)
    assert [r.doc_id for r in found] == [4, 3, 2, 1, 0]
    assert found[1].document.content is image
    assert pictures_seen(seer) == 5


def test_rerankers_single_documents_async_and_errors(reader):
    ranker = MMR5Ranker(reader)
    assert len(ranker.rank(QUESTION, TEXTS[0])) == 1
    assert ranker.score(QUESTION, TEXTS[1]) > ranker.score(QUESTION, TEXTS[2])
    assert asyncio.run(ranker.rank_async(QUESTION, TEXTS))[0].doc_id == 1
    with pytest.raises(InputError, match="2 doc_ids for 3 docs"):
        ranker.rank(QUESTION, TEXTS, doc_ids=[1, 2])
    with pytest.raises(InputError, match=r"docs\[1\] is None"):
        ranker.rank(QUESTION, ["a", None])
    assert MMR5Ranker(engine="scripted", method="likelihood", view="text").rank("seals", ["b", "seals"])[0].doc_id == 1


def test_cross_encoder_rank(reader, reasoner):
    found = MMR5CrossEncoder(reader).rank(QUESTION, TEXTS, top_k=2, return_documents=True)
    assert [line["corpus_id"] for line in found][0] == 1
    assert len(found) == 2
    assert found[0]["text"] == TEXTS[1]
    assert found[0]["score"] > found[1]["score"]
    assert "text" not in MMR5CrossEncoder(reader).rank(QUESTION, TEXTS)[0]
    assert MMR5CrossEncoder(reasoner([1, 0])).rank("q", ["a", "b"])[0]["reason"] == "note on 1"


def test_cross_encoder_rank_takes_what_a_cross_encoder_takes(reader):
    from inspect import signature

    from sentence_transformers import CrossEncoder

    theirs, ours = (list(signature(kind.rank).parameters)[:10] for kind in (CrossEncoder, MMR5CrossEncoder))
    assert ours == theirs
    encoder = MMR5CrossEncoder(reader)
    plain = encoder.rank(QUESTION, TEXTS)
    assert encoder.rank(QUESTION, TEXTS, None, False, None, None, 8, False) == plain
    assert encoder.rank(QUESTION, TEXTS, batch_size=1, show_progress_bar=True, num_workers=0, convert_to_tensor=False) == plain
    for wrong, said in (
        ({"activation_fn": abs}, "activation_fn"), ({"prompt": "p"}, "prompt"), ({"apply_softmax": True}, "apply_softmax"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=f"rank has no use for {said}: leave it out"):
            encoder.rank(QUESTION, TEXTS, **wrong)
    with pytest.raises(InputError, match="query is a list: give the question, a string, first"):
        encoder.rank(TEXTS, QUESTION)
    with pytest.raises(InputError, match=r"documents is a str: give a list, e\.g\. \[document\]"):
        encoder.rank(QUESTION, TEXTS[0])


def test_cross_encoder_predict_collects_the_pairs_of_a_question():
    engine = ScriptedEngine()
    encoder = MMR5CrossEncoder(Reranker(engine, view="text", method="logits"))
    pairs = [("one", "a"), ("two", "x"), ("one", "b"), ["two", "y"], ("one", "c")]
    scores = encoder.predict(pairs, batch_size=2, show_progress_bar=False)
    assert scores.dtype == np.float32
    assert scores == pytest.approx([4 / 7, 2 / 3, 2 / 7, 1 / 3, 1 / 7])
    assert len(engine.requests) == 2, "one prompt a question"


def test_cross_encoder_predict_agrees_with_rank_and_takes_one_pair(reader):
    encoder = MMR5CrossEncoder(reader)
    scores = encoder.predict([(QUESTION, text) for text in TEXTS])
    assert [line["corpus_id"] for line in encoder.rank(QUESTION, TEXTS)] == list(np.argsort(-scores, kind="stable"))
    assert encoder.predict((QUESTION, TEXTS[1])) == pytest.approx(scores[1])
    assert encoder.predict([]).shape == (0,)
    assert encoder.predict([(QUESTION, Page("a", 1, text=TEXTS[1]))])[0] == pytest.approx(scores[1])


@pytest.mark.parametrize("bad", [["ab", "cd", "ef"], [("q",)], [(1, "a")]])
def test_cross_encoder_refuses_what_is_no_pair(bad, reader):
    with pytest.raises(InputError, match="no pair"):
        MMR5CrossEncoder(reader).predict(bad)


def test_cross_encoder_passes_over_no_argument(reader):
    with pytest.raises(InputError, match="activation_fn"):
        MMR5CrossEncoder(reader).predict([("q", "a")], activation_fn=abs)
    with pytest.raises(InputError, match="convert_to_tensor"):
        MMR5CrossEncoder(reader).predict([("q", "a")], convert_to_tensor=True)
