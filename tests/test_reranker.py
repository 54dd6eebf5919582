import asyncio
import json
from itertools import pairwise
from pathlib import Path

import pytest

from mmr5 import Recipe, Reranker, Searcher
from mmr5.answer import fold, format_reply
from mmr5.engines.scripted import ScriptedEngine
from mmr5.errors import ConfigError, InputError, ModelNotFoundError
from mmr5.types import Candidates, Page, Problem, Ranking, ScoreKind

PAGES = [
    Page("report.pdf", 1, text="Contents: fees, cargo, seals."),
    Page("report.pdf", 2, text="The berthing fees for yachts rise to 31 euros a night in 2026."),
    Page("report.pdf", 3, text="Cargo by terminal: north 12,000 tonnes."),
    Page("letter.png", 1, text=""),
]


def scripted(reply, **options):
    return Reranker(ScriptedEngine(reply), view="text", method="reason", **options)


def test_a_result_holds_the_pages_in_order_with_reasons_and_evidence():
    reply = format_reply([1, 0, 3, 2], ["lists topics", "states the fee", "cargo", "blank"], label="Page")
    result = scripted([reply]).rerank("What are the berthing fees?", PAGES, top_n=2)
    assert result.order == (1, 0)
    assert len(result) == 2
    first = result[0]
    assert (first.rank, first.index, first.source, first.page) == (1, 1, "report.pdf", 2)
    assert first.reason == "states the fee"
    assert first.evidence == PAGES[1].text
    assert (first.first_stage_rank, first.first_stage_score) == (None, None)
    assert result.n_pages == 4
    assert result.reasoning.startswith("Page 1: lists topics")
    assert result.reply == reply
    assert result.issues == ()


class ByCharacter(ScriptedEngine):
    """A model that reads 80 tokens, a character each, beside the question."""

    def count_tokens(self, text):
        return len(text)


def test_chinese_pages_longer_than_the_budget_reach_the_model():
    body = json.loads((Path(__file__).parent / "server" / "rerank_zh.json").read_text(encoding="utf-8"))
    pages = [Page("a", i, text=text) for i, text in enumerate(body["documents"], 1)]
    engine = ByCharacter()
    result = Reranker(engine, view="text", method="pointwise", page_tokens=80).rerank(body["query"], pages)
    assert result.order[0] == 1
    assert result[0].score > result[1].score
    assert "养蜂场的蜂箱去年增加到四十个" in result[0].evidence
    assert len(result[0].evidence) < len(pages[1].text) / 2
    said = "\n".join(p["text"] for r in engine.requests for m in r.messages for p in m["content"] if p["type"] == "text")
    assert all(any(page.text[i : i + 12] in said for i in range(len(page.text))) for page in pages)


def test_a_page_without_text_has_no_evidence():
    result = scripted([format_reply([3, 0, 1, 2], ["a"] * 4, label="Page")]).rerank("q", PAGES)
    assert result[0].evidence is None


def test_the_json_object_has_the_promised_keys():
    result = scripted([format_reply([0, 1, 2, 3], ["a"] * 4, label="Page")]).rerank("q", PAGES)
    found = result.to_dict()
    assert {"query", "model", "method", "retriever", "n_pages", "ranking", "reasoning", "reply", "issues", "timings_ms"} <= set(
        found
    )
    assert set(found["timings_ms"]) == {"read", "retrieve", "model", "parse"}
    keys = [
        "rank",
        "index",
        "source",
        "page",
        "score",
        "score_kind",
        "first_stage_rank",
        "first_stage_score",
        "reason",
        "evidence",
        "page_label",
        "relevance",
        "evidence_passages",
    ]
    assert list(found["ranking"][0]) == keys
    assert found["answerable"] is None
    assert found["settings"]["view"] == "text"


def test_many_questions_equal_single_ones():
    reranker = Reranker(ScriptedEngine(), view="text", method="pointwise")
    items = [("berthing fees for yachts", PAGES), ("cargo by terminal", PAGES[:3])]
    together = reranker.rerank_many(items)
    assert [r.order for r in together] == [reranker.rerank(q, p).order for q, p in items]
    assert together[0].order[0] == 1
    assert together[1].order[0] == 2


def test_reasoning_is_heard_while_it_is_written():
    heard = []
    reranker = Reranker(ScriptedEngine(), view="text", method="reason")
    result = reranker.rerank("cargo", PAGES, on_text=heard.append)
    assert len(heard) > 3
    assert "".join(heard) == result.reply
    again = []
    found = Searcher(reranker, "bm25").search("cargo", PAGES, on_text=again.append)
    assert "".join(again) == found.reply
    late = []
    asyncio.run(reranker.arerank("cargo", PAGES, on_text=late.append))
    assert late == heard


def test_notes_are_heard_with_their_page_and_never_as_reasoning():
    reranker = Reranker(ScriptedEngine(), view="text", method="pointwise")
    told, mixed = {}, []
    result = reranker.rerank_many(
        [("cargo by terminal", PAGES)], on_text=lambda _, text, page: told.update({page: told.get(page, "") + text})
    )[0]
    assert told[result[0].index].strip() == result[0].reason
    reranker.rerank("cargo by terminal", PAGES, on_text=mixed.append)
    assert mixed == []


def test_async_gives_the_same():
    reranker = Reranker(ScriptedEngine(), view="text", method="likelihood")
    assert asyncio.run(reranker.arerank("cargo", PAGES)).order == reranker.rerank("cargo", PAGES).order


def test_an_empty_question_is_refused_and_no_pages_give_an_empty_result():
    reranker = Reranker(ScriptedEngine(), view="text", method="likelihood")
    with pytest.raises(InputError, match="question is empty"):
        reranker.rerank("  ", PAGES)
    assert len(reranker.rerank("q", [])) == 0
    with pytest.raises(InputError, match="no pages"):
        Searcher(reranker, "bm25").search("q", [])


def test_settings_come_from_the_recipe_and_flags_override_them():
    recipe = Recipe(method="pointwise", view="text", page_tokens=99, notes=1, fusion=2.0)
    reranker = Reranker(ScriptedEngine(), recipe=recipe)
    assert (reranker.method, reranker.view, reranker.settings.page_tokens, reranker.settings.notes) == (
        "pointwise",
        "text",
        99,
        1,
    )
    other = Reranker(ScriptedEngine(), recipe=recipe, method="likelihood", page_tokens=7)
    assert (other.method, other.settings.page_tokens) == ("likelihood", 7)
    assert Searcher(reranker).fusion == 2.0
    assert Searcher(reranker, fusion=0.5).fusion == 0.5
    assert Searcher(other).fusion is None
    decoding = Recipe(method="reason", view="text", fusion=2.0)
    assert Searcher(Reranker(ScriptedEngine(), recipe=decoding)).fusion is None


def test_another_view_is_the_same_model_with_the_same_settings():
    recipe = Recipe(method="pointwise", view="image", page_tokens=99, question_weight=0.5)
    reranker = Reranker(ScriptedEngine(), recipe=recipe, notes=1, note_tokens=5)
    text = reranker.with_view("text")
    assert (text.view, text.settings.view, text.method, text.engine) == ("text", "text", "pointwise", reranker.engine)
    assert (text.settings.notes, text.settings.note_tokens, text.settings.question_weight) == (1, 5, 0.5)
    assert text.fingerprint != reranker.fingerprint
    assert (reranker.view, reranker.settings.view) == ("image", "image")
    assert reranker.with_view("image") is reranker


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"method": "guess"}, "method"),
        ({"view": "smell"}, "view"),
        ({"pages": 3}, "unknown setting pages"),
        ({"window": 0}, "window"),
    ],
)
def test_bad_settings_are_refused(options, said):
    with pytest.raises(ConfigError, match=said):
        Reranker(ScriptedEngine(), **{"view": "text", **options})


def test_from_pretrained_refuses_what_it_does_not_know():
    with pytest.raises(ConfigError, match="transformers, openai, vllm, scripted"):
        Reranker.from_pretrained(engine="abacus")
    with pytest.raises(ConfigError, match="--base-url"):
        Reranker.from_pretrained("m", engine="openai")
    with pytest.raises(ConfigError, match="goes with engine 'openai'"):
        Reranker.from_pretrained("mini", base_url="http://localhost:1")
    with pytest.raises(ModelNotFoundError, match="'mini'"):
        Reranker.from_pretrained("no-such-model")
    with pytest.raises(ConfigError, match="'guess' is unknown"):
        Reranker.from_pretrained("mini", method="guess")


def test_a_checkpoint_folder_with_its_recipe(tiny_text, tmp_path):
    import shutil

    folder = tmp_path / "mine"
    shutil.copytree(tiny_text, folder)
    (folder / "recipe.json").write_text(Recipe(method="likelihood", view="text", page_tokens=40, fusion=0.5).to_json())
    reranker = Reranker.from_pretrained(str(folder), dtype="float32", device="cpu")
    assert (reranker.model, reranker.method, reranker.settings.page_tokens) == ("mine", "likelihood", 40)
    result = Searcher(reranker, "bm25").search("berthing fees", PAGES)
    assert sorted(result.order) == [0, 1, 2, 3]
    assert result[0].score_kind == "fused"
    assert result.settings["fusion"] == 0.5


def test_notes_of_pages_that_are_written_together_are_heard_apart(tiny_vision):
    from support.tiny import Picture

    reranker = Reranker.from_pretrained(
        str(tiny_vision), dtype="float32", device="cpu", method="pointwise", notes=3, note_tokens=12
    )
    batch = [Candidates(q, tuple(Page("b", i, image=Picture(f"{q}{i}")) for i in range(3))) for q in ("harbour", "ships")]
    heard, turns = {}, []

    def hear(position, text, page):
        heard[position, page] = heard.get((position, page), "") + text
        turns.append((position, page))

    rankings = reranker.rank_many(batch, on_text=hear)
    notes = {(i, page): note for i, ranking in enumerate(rankings) for page, note in enumerate(ranking.notes) if note}
    assert notes == {key: fold(text) for key, text in heard.items() if fold(text)}
    assert len(notes) > 2 and len(set(notes.values())) > 1
    changes = sum(a != b for a, b in pairwise(turns))
    assert changes > len(heard), "the notes were told one after the other"


def test_a_seeing_checkpoint_reads_pictures(tiny_vision):
    from support.tiny import Picture

    reranker = Reranker.from_pretrained(str(tiny_vision), dtype="float32", device="cpu", max_new_tokens=12)
    assert (reranker.method, reranker.view) == ("reason", "image")
    pages = [Page("a.png", 1, image=Picture("a")), Page("b.png", 1, image=Picture("b", mark="red"))]
    assert sorted(reranker.rerank("which is red?", pages).order) == [0, 1]
    assert Reranker(reranker.engine, method="logits").rerank("which is red?", pages)[0].score_kind == "choice_probability"
    both = Reranker(reranker.engine, method="likelihood", view="image").rerank("which is red?", pages)
    assert both[0].score < 0


# --- Searcher ---------------------------------------------------------------------------------------------------------


def test_the_first_stage_picks_the_candidates():
    searcher = Searcher(Reranker(ScriptedEngine(), view="text", method="likelihood"), "bm25", candidates=2)
    result = searcher.search("berthing fees for yachts", PAGES)
    assert len(result) == 2
    assert result.n_pages == 4
    assert result.retriever == "bm25"
    assert result[0].index == 1
    assert result[0].first_stage_rank == 1
    assert result[0].first_stage_score > 0
    assert result.timings_ms["model"] >= 0


def test_without_a_first_stage_every_page_is_a_candidate():
    result = Searcher(Reranker(ScriptedEngine(), view="text", method="likelihood"), "none").search("cargo", PAGES)
    assert len(result) == 4
    assert result[0].first_stage_rank is None
    few = Searcher(Reranker(ScriptedEngine(), view="text", method="likelihood"), "none", candidates=2).search("cargo", PAGES)
    assert sorted(few.order) == [0, 1]


def test_search_many_equals_search():
    searcher = Searcher(Reranker(ScriptedEngine(), view="text", method="likelihood"), "bm25")
    queries = ["berthing fees", "cargo by terminal"]
    assert [r.order for r in searcher.search_many(queries, PAGES)] == [searcher.search(q, PAGES).order for q in queries]


def test_problems_travel_with_the_result():
    searcher = Searcher(Reranker(ScriptedEngine(), view="text", method="likelihood"), "bm25")
    problem = Problem("bad.png", None, "not an image")
    result = searcher.search("cargo", PAGES).with_reading([problem], 12.5)
    assert result.to_dict()["problems"] == [{"source": "bad.png", "page": None, "message": "not an image"}]
    assert result.timings_ms["read"] == 12.5


def test_the_steps_of_a_search_are_the_search():
    searcher = Searcher(Reranker(ScriptedEngine(), view="text", method="pointwise", notes=2), "bm25", candidates=3, fusion=1.0)
    whole = searcher.search("berthing fees for yachts", PAGES)
    found = searcher.candidates("berthing fees for yachts", PAGES)
    [ranking] = searcher.rank([found])
    result = searcher.result(found, ranking, len(PAGES))
    assert result.ranking == whole.ranking
    assert result.settings == whole.settings
    assert result[0].score_kind == "fused"


def test_notes_are_written_on_the_pages_on_top_of_the_fused_order():
    reranker = Reranker(ScriptedEngine(), view="text", method="pointwise", notes=1)
    found = Candidates("berthing fees for yachts", (PAGES[0], PAGES[1], PAGES[2]), (9.0, 1.0, 0.0))
    [alone] = reranker.rank_many([found])
    [fused] = Searcher(reranker, "bm25", fusion=0.0).rank([found])
    assert (alone.order[0], fused.order[0]) == (1, 0)
    assert [i for i, note in enumerate(alone.notes) if note] == [1]
    assert [i for i, note in enumerate(fused.notes) if note] == [0]


def test_candidates_without_first_stage_scores_are_ranked_by_the_model_alone():
    searcher = Searcher(Reranker(ScriptedEngine(), view="text", method="pointwise"), "bm25", fusion=5.0)
    found = Candidates("cargo by terminal", tuple(PAGES))
    [ranking] = searcher.rank([found])
    assert ranking == searcher.reranker.rank_many([found])[0]
    assert searcher.result(found, ranking, 4).settings["fusion"] is None


def test_the_time_of_parsing_is_that_of_reading_the_reply(monkeypatch):
    import time

    import mmr5.methods.listwise as listwise

    real = listwise.parse

    def slow(*given, **named):
        time.sleep(0.02)
        return real(*given, **named)

    monkeypatch.setattr(listwise, "parse", slow)
    timings = Reranker(ScriptedEngine(), view="text", method="direct").rerank("cargo", PAGES).timings_ms
    assert 20 <= timings["parse"] < 60
    assert timings["model"] < timings["parse"]
    assert Reranker(ScriptedEngine(), view="text", method="likelihood").rerank("cargo", PAGES).timings_ms["parse"] == 0.0


@pytest.mark.parametrize("kind", list(ScoreKind))
def test_every_kind_of_score_has_words_and_its_way_to_the_unit_interval(kind):
    assert kind.label and kind.meaning and len(kind.label) < 30
    if kind.unit_kind is None:
        with pytest.raises(ValueError, match=kind.value):
            kind.to_unit(0.5)
        return
    low, high = (kind.to_unit(score) for score in ((0.2, 0.7) if kind.unit_kind is kind else (-3.0, -0.5)))
    assert 0 <= low < high <= 1


@pytest.mark.parametrize(("options", "said"), [({"candidates": 0}, "candidates"), ({"fusion": -1}, "fusion")])
def test_bad_searcher_settings_are_refused(options, said):
    with pytest.raises(ConfigError, match=said):
        Searcher(Reranker(ScriptedEngine(), view="text", method="likelihood"), **options)


def test_frozen_types_check_themselves():
    with pytest.raises(ValueError, match="permutation"):
        Ranking((0, 0))
    with pytest.raises(ValueError, match="scores"):
        Ranking((0, 1), (1.0,))
    with pytest.raises(ValueError, match="1 scores for 2 pages"):
        Candidates("q", tuple(PAGES[:2]), (1.0,))


def test_the_documents_own_label_of_a_page_is_told_beside_its_number():
    from io import StringIO

    from rich.console import Console

    from mmr5.render.terminal import result_table

    pages = [Page("a.pdf", 5, "berthing fees for yachts", label="1"), Page("a.pdf", 2, "cargo", label="2")]
    result = Reranker(ScriptedEngine(), view="text", method="likelihood").rerank("berthing fees", pages)
    assert [(line.page, line.page_label) for line in result] == [(5, "1"), (2, "2")]
    assert result.to_dict()["ranking"][0]["page_label"] == "1"
    shown = StringIO()
    Console(file=shown, width=80).print(result_table(result))
    assert "p. 5 (1)" in shown.getvalue()
    assert "p. 2 (2)" not in shown.getvalue()
