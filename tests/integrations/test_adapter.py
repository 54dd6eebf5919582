"""The adapter: pictures where all have one, text by OCR where not, errors by the place, and what is told of a page."""

import asyncio

import pytest
from PIL import Image

from integrations.conftest import QUESTION, TEXTS, pictures_seen
from mmr5 import Reranker
from mmr5.documents import Draft, draft
from mmr5.engines.scripted import ScriptedEngine
from mmr5.errors import ConfigError, InputError, PageError
from mmr5.integrations.adapter import Adapter, notes_of, score_of
from mmr5.pages.ocr import Recognition
from mmr5.types import RankedPage


def test_nothing_is_lost_and_the_score_falls_along_the_order(reader):
    result = Adapter(reader).rank(QUESTION, [draft(t) for t in (*TEXTS, TEXTS[0], "")])
    assert sorted(result.order) == [0, 1, 2, 3, 4]
    assert result.order[0] == 1
    scores = [score_of(page) for page in result]
    assert scores == sorted(scores, reverse=True)


def test_a_seeing_model_is_shown_pictures_where_all_have_one(reasoner, picture):
    seer = reasoner([1, 0], view="image")
    result = Adapter(seer).rank("q", [draft(picture("a")), draft({"text": "b", "image": picture("b")})])
    assert result.order == (1, 0)
    assert pictures_seen(seer) == 2
    assert result[0].reason == "note on 1"


def test_where_one_has_none_all_are_read_as_text_and_pictures_by_ocr(picture):
    engine = ScriptedEngine()
    adapter = Adapter(Reranker(engine, view="image", method="likelihood"))
    result = adapter.rank("seals", [draft("cargo"), draft(picture("seals"))])
    assert result.settings["view"] == "text"
    assert not any(part["type"] == "image" for r in engine.requests for m in r.messages for part in m["content"])
    assert result.order == (1, 0)
    assert "seals" in result[0].evidence.lower()


def test_a_picture_that_nobody_needs_is_not_opened(reader):
    def never():
        raise AssertionError("opened")

    assert Adapter(reader).rank("cargo", [Draft("a", text="cargo", picture=never)]).order == (0,)


def test_a_bad_picture_is_named_by_its_place(reasoner, picture):
    with pytest.raises(PageError, match=r"document 1 \(second\)"):
        Adapter(reasoner([0, 1], view="image")).rank("q", [draft(picture()), draft(b"junk", "second")])


def test_the_text_of_a_foreign_image_source_is_recognised(reader, monkeypatch):
    class Own:
        key = "0" * 64

        def load(self, max_pixels=None):
            return Image.effect_noise((90, 90), 80).convert("RGB")

    monkeypatch.setattr("mmr5.pages.ocr.recognise", lambda image: Recognition(f"cargo of {image.size}"))
    result = Adapter(reader).rank("cargo", ["nothing", {"image": Own()}])
    assert result.order == (1, 0)
    assert result[0].evidence == "cargo of (90, 90)"


def test_options_beside_a_reranker_are_refused(reader):
    with pytest.raises(ConfigError, match="method beside a reranker"):
        Adapter(reader, method="reason")


def test_many_questions_async_and_results_told(reader):
    seen = []
    adapter = Adapter(reader, on_result=seen.append)
    first, second = adapter.rank_many(
        [("berthing fees", [draft(t) for t in TEXTS]), ("cargo terminal", [draft(t) for t in TEXTS])]
    )
    assert (first.order[0], second.order[0]) == (1, 2)
    assert seen == [first, second]
    assert asyncio.run(adapter.arank("cargo terminal", [draft(t) for t in TEXTS])).order == second.order
    assert len(adapter.rank("q", [])) == 0
    with pytest.raises(ConfigError, match="top_n is 0"):
        adapter.rank("q", [draft("a")], 0)
    with pytest.raises(InputError, match="question is empty"):
        adapter.rank(" ", [draft("a")])


def test_a_page_without_a_score_gets_one_by_its_rank():
    assert notes_of(RankedPage(4, 0, "a", 1)) == {
        "relevance_score": 0.25,
        "relevance": None,
        "score_kind": "reciprocal_rank",
        "rank": 4,
        "reason": None,
        "evidence": None,
    }
