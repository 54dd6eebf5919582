import math
import re

import pytest

from mmr5.answer import format_reply
from mmr5.engines.protocol import Capabilities
from mmr5.engines.scripted import ScriptedEngine
from mmr5.errors import CapabilityError, ConfigError, ContextLengthError, ReplyError
from mmr5.methods import MethodSettings, inputs, listwise, method
from mmr5.types import Candidates, Issue, Page
from support.tiny import Picture

WORDS = ["apple", "berry", "cherry", "damson", "elder", "fig", "grape", "hazel", "iris", "juniper", "kale", "lime"]


def pages(n):
    return tuple(
        Page("book.pdf", i + 1, text=f"A page about {WORDS[i % 12]} number {i}.", image=Picture(str(i))) for i in range(n)
    )


def candidates(n, query="where is the fig?"):
    return Candidates(query, pages(n))


def shown(request):
    """The page numbers (as in the text) that a list-wise prompt shows, in order."""
    text = "".join(p["text"] for m in request.messages for p in m["content"] if p["type"] == "text")
    return [int(i) for i in re.findall(r"Page \d+: A page about \w+ number (\d+)", text)]


def ascending(request):
    """A model that likes high page numbers."""
    numbers = shown(request)
    order = sorted(range(len(numbers)), key=lambda i: -numbers[i])
    return format_reply(order, [f"number {n}" for n in numbers], label="Page")


def text(**options):
    return MethodSettings(view="text", **options)


def test_reason_reads_the_models_order_and_notes():
    engine = ScriptedEngine(["<think>\nPage 1: apples.\nPage 2: berries.\n</think><answer>[2, 1]</answer>"])
    ranking = method("reason")(engine, [candidates(2)], text())[0]
    assert ranking.order == (1, 0)
    assert ranking.notes == ("apples.", "berries.")
    assert ranking.scores == (0.5, 1.0)
    assert ranking.score_kind == "reciprocal_rank"
    assert ranking.reply.startswith("<think>")
    assert ranking.issues == ()


def test_several_lists_are_asked_in_one_call_and_come_back_in_order():
    engine = ScriptedEngine(ascending)
    rankings = method("reason")(engine, [candidates(2), candidates(0), candidates(4)], text())
    assert [r.order for r in rankings] == [(1, 0), (), (3, 2, 1, 0)]


def test_a_bad_reply_keeps_first_stage_order_and_says_so():
    ranking = method("reason")(ScriptedEngine(["I cannot say."]), [candidates(3)], text())[0]
    assert ranking.order == (0, 1, 2)
    assert ranking.issues == (Issue.NO_ANSWER, Issue.NO_THINK)
    with pytest.raises(ReplyError):
        method("reason")(ScriptedEngine(["I cannot say."]), [candidates(3)], text(strict=True))


def test_a_reply_cut_off_is_marked():
    ranking = method("reason")(ScriptedEngine(["<think>word " * 50]), [candidates(3)], text(max_new_tokens=10))[0]
    assert Issue.TRUNCATED in ranking.issues


def test_long_lists_are_read_in_windows_from_the_tail():
    engine = ScriptedEngine(ascending)
    ranking = method("reason")(engine, [candidates(12)], text(window=6, overlap=3))[0]
    assert [shown(r) for r in engine.requests][0] == [6, 7, 8, 9, 10, 11]
    assert ranking.order[:3] == (11, 10, 9)
    assert sorted(ranking.order) == list(range(12))
    assert ranking.notes[11] == "number 11"
    assert all(len(shown(r)) <= 6 for r in engine.requests)


def test_samples_are_seeded_shuffles_merged_by_borda():
    engine = ScriptedEngine(ascending)
    ranking = method("reason")(engine, [candidates(5)], text(samples=3, seed=7))[0]
    orders = [shown(r) for r in engine.requests]
    assert orders[0] == [0, 1, 2, 3, 4]
    assert len({tuple(o) for o in orders}) == 3
    assert ranking.order == (4, 3, 2, 1, 0)
    assert ranking.score_kind == "borda"
    assert ranking.scores == (0.0, 0.25, 0.5, 0.75, 1.0)
    assert ranking.notes[4] == "number 4"
    again = ScriptedEngine(ascending)
    method("reason")(again, [candidates(5)], text(samples=3, seed=7))
    assert [shown(r) for r in again.requests] == orders


def test_samples_cancel_a_models_liking_for_the_first_place():
    first_wins = ScriptedEngine(
        lambda request: format_reply(range(len(shown(request))), ["x"] * len(shown(request)), label="Page")
    )
    one = method("reason")(first_wins, [candidates(4)], text())[0]
    many = method("reason")(first_wins, [candidates(4)], text(samples=40))[0]
    assert one.scores == (1.0, 0.5, 1 / 3, 0.25)
    assert max(many.scores) - min(many.scores) < 0.3


def test_direct_asks_for_no_reasoning_and_few_tokens():
    engine = ScriptedEngine(["<answer>[2, 1]</answer>"])
    ranking = method("direct")(engine, [candidates(2)], text())[0]
    assert ranking.order == (1, 0)
    assert ranking.issues == ()
    assert "<think>" not in str(engine.requests[0].messages)


def test_think_tokens_closes_the_thought_and_asks_for_the_answer():
    def reply(request):
        return "3, 1, 2]</answer>" if request.prefill else "<think>\nPage 1: " + "word " * 100

    engine = ScriptedEngine(reply)
    ranking = method("reason")(engine, [candidates(3)], text(think_tokens=8))[0]
    assert ranking.order == (2, 0, 1)
    assert len(engine.requests) == 2
    assert engine.requests[1].prefill.endswith("</think><answer>[")
    assert len(engine.requests[1].prefill.split()) < 15
    assert ranking.issues == ()


def hear(settings, lists, engine, name="reason"):
    heard = {}
    rankings = method(name)(engine, lists, settings, lambda i, text: heard.setdefault(i, []).append(text))
    return {i: "".join(pieces) for i, pieces in heard.items()}, rankings


def test_each_list_is_heard_while_it_is_written():
    heard, rankings = hear(text(), [candidates(2), candidates(0), candidates(4)], ScriptedEngine(ascending))
    assert heard == {0: rankings[0].reply, 2: rankings[2].reply}
    assert heard[0] != heard[2]
    heard, rankings = hear(text(), [candidates(3)], ScriptedEngine(), "direct")
    assert heard == {0: rankings[0].reply}


def test_windows_are_heard_one_after_the_other_and_only_the_first_sample():
    heard, rankings = hear(text(window=6, overlap=3), [candidates(3), candidates(12)], ScriptedEngine(ascending))
    assert heard == {0: rankings[0].reply, 1: rankings[1].reply}
    heard, rankings = hear(text(samples=3), [candidates(3)], ScriptedEngine(ascending))
    assert heard == {0: rankings[0].reply.split("\n\n<think>")[0]}


@pytest.mark.parametrize("thought", ["<think>\nPage 1: ", ""])
def test_a_shortened_thought_is_heard_with_its_end_and_the_answer(thought):
    engine = ScriptedEngine(lambda r: "3, 1, 2]</answer>" if r.prefill else thought + "word " * 100)
    heard, rankings = hear(text(think_tokens=8), [candidates(3)], engine)
    assert heard[0].endswith("word\n</think><answer>[3, 1, 2]</answer>")
    assert rankings[0].reply.endswith(heard[0])
    assert heard[0].count("<answer>") == 1


def test_methods_that_write_nothing_to_hear_take_a_listener():
    for name in ("logits", "likelihood"):
        assert hear(text(), [candidates(3)], ScriptedEngine(), name)[0] == {}


def test_think_tokens_leaves_a_short_thought_alone():
    engine = ScriptedEngine(
        lambda r: "2, 1]</answer>" if r.prefill else "<think>\nPage 1: a\nPage 2: b\n</think><answer>[1, 2]</answer>"
    )
    ranking = method("reason")(engine, [candidates(2)], text(think_tokens=200))[0]
    assert ranking.notes == ("a", "b")
    assert sorted(ranking.order) == [0, 1]
    assert ranking.issues == ()


def test_logits_orders_by_choice_probability():
    engine = ScriptedEngine()
    ranking = method("logits")(engine, [candidates(3)], text())[0]
    assert ranking.order == (0, 1, 2)
    assert sum(ranking.scores) == pytest.approx(1)
    assert ranking.score_kind == "choice_probability"
    assert engine.requests[0].prefill == "<answer>["
    assert ranking.reply is None


def test_logits_over_windows_gives_places_not_probabilities():
    ranking = method("logits")(ScriptedEngine(), [candidates(12)], text(window=6, overlap=3))[0]
    assert ranking.score_kind == "reciprocal_rank"


def test_pointwise_scores_every_page_and_writes_notes_for_the_top():
    engine = ScriptedEngine()
    ranking = method("pointwise")(engine, [candidates(8)], text(notes=2))[0]
    assert ranking.order[0] == 5
    assert ranking.score_kind == "relevance_probability"
    assert all(0 <= s <= 1 for s in ranking.scores)
    assert [n is not None for n in ranking.notes].count(True) == 2
    assert ranking.notes[5]
    assert [r.prefill for r in engine.requests[8:]] == ["Yes.", "No."]


def test_likelihood_needs_no_reply():
    ranking = method("likelihood")(ScriptedEngine(), [candidates(8), candidates(2, "an apple number")], text())
    assert ranking[0].order[0] == 5
    assert ranking[1].order[0] == 0
    assert ranking[0].score_kind == "mean_log_likelihood"
    assert all(math.isfinite(s) for s in ranking[0].scores)


def test_a_note_is_heard_with_its_page_while_it_is_written():
    engine = ScriptedEngine()
    heard = []
    lists = [candidates(8), candidates(0), candidates(3, "a page about berry number 1")]
    rankings = method("pointwise")(engine, lists, text(notes=2), lambda *piece: heard.append(piece))
    told = {}
    for position, piece, page in heard:
        told[position, page] = told.get((position, page), "") + piece
    assert set(told) == {(i, page) for i in (0, 2) for page in rankings[i].order[:2]}
    assert len(heard) > 8
    kept = {(i, page): note for i, r in enumerate(rankings) for page, note in enumerate(r.notes) if note is not None}
    assert kept and kept == {key: told[key].strip() for key in kept}
    assert rankings == method("pointwise")(ScriptedEngine(), lists, text(notes=2))


@pytest.mark.parametrize(
    ("name", "lacks"), [("logits", "score_choices"), ("pointwise", "score_choices"), ("likelihood", "score_text")]
)
def test_a_method_asks_for_a_capability_and_names_the_engines_that_have_it(name, lacks):
    engine = ScriptedEngine(capabilities=Capabilities())
    with pytest.raises(CapabilityError, match=rf"'{name}' needs '{lacks}'.*transformers"):
        method(name)(engine, [candidates(2)], text())


def test_a_view_the_engine_cannot_see_is_refused():
    with pytest.raises(CapabilityError, match="view 'image'"):
        method("reason")(ScriptedEngine(capabilities=Capabilities()), [candidates(2)], MethodSettings(view="image"))


def test_pages_must_have_what_the_view_needs():
    bare = Candidates("q", (Page("a.pdf", 3),))
    with pytest.raises(ConfigError, match=r"a\.pdf page 3 has none"):
        method("reason")(ScriptedEngine(), [bare], text())
    with pytest.raises(ConfigError, match=r"a\.pdf page 3 has none"):
        method("reason")(ScriptedEngine(), [bare], MethodSettings(view="image"))


def test_the_text_budget_is_derived_from_the_context():
    small = ScriptedEngine(capabilities=Capabilities(context_tokens=1000))
    window, budget = inputs.window_budget(small, text(max_new_tokens=200), overhead=100, n=10)
    assert (window, budget) == (10, (1000 - 100 - 200 - inputs.CONTEXT_SLACK) // 10 - 8)
    window, budget = inputs.window_budget(small, text(max_new_tokens=600), overhead=100, n=10)
    assert window < 10
    assert budget >= inputs.PAGE_TOKENS_FLOOR
    with pytest.raises(ContextLengthError, match="1000"):
        inputs.window_budget(small, text(max_new_tokens=900), overhead=100, n=10)
    assert inputs.window_budget(ScriptedEngine(), text(page_tokens=77), overhead=5, n=3) == (3, 77)


def test_prompts_keep_within_a_small_context():
    long = Candidates("q", tuple(Page("a", i, text="word " * 900) for i in range(12)))
    engine = ScriptedEngine(ascending, capabilities=Capabilities(context_tokens=1500))
    method("reason")(engine, [long], text(max_new_tokens=300))
    assert engine.requests
    for request in engine.requests:
        assert inputs.prompt_tokens(engine, request) + 300 <= 1500


def test_a_page_alone_has_a_budget_too():
    engine = ScriptedEngine(capabilities=Capabilities(context_tokens=300))
    assert inputs.single_budget(engine, text(), 100) == 300 - 100 - inputs.CONTEXT_SLACK
    assert inputs.single_budget(engine, text(page_tokens=50), 100) == 50
    with pytest.raises(ContextLengthError, match="shorten the question"):
        inputs.single_budget(engine, text(), 290)


@pytest.mark.parametrize(
    "bad",
    [{"window": 1}, {"samples": 0}, {"overlap": 20}, {"page_tokens": 0}, {"think_tokens": 0}, {"temperature": -1}, {"notes": -1}],
)
def test_impossible_settings_are_refused(bad):
    with pytest.raises(ConfigError, match=next(iter(bad))):
        MethodSettings(**bad)


def test_an_unknown_method_is_refused_with_the_list():
    with pytest.raises(ConfigError, match="reason, direct, logits, pointwise, likelihood"):
        method("guess")


def test_shuffles_depend_on_seed_sample_and_length_alone():
    assert listwise._shuffled(5, 0, 9) == [0, 1, 2, 3, 4]
    assert listwise._shuffled(5, 1, 9) == listwise._shuffled(5, 1, 9)
    assert listwise._shuffled(9, 1, 9) != listwise._shuffled(9, 2, 9)


def test_a_batch_that_fails_is_halved_until_the_failing_list_stands_alone():
    from mmr5 import Reranker
    from mmr5.errors import ContextLengthError, EngineError

    class Picky(ScriptedEngine):
        def generate(self, requests, sampling, on_text=None):
            if any("bad" in r.question for r in requests):
                if on_text is not None:
                    on_text(0, "<think>")
                raise ContextLengthError("too long")
            return super().generate(requests, sampling, on_text)

    lists = [Candidates(q, [Page("d", 1, "a"), Page("d", 2, "b")]) for q in ("good 0", "good 1", "bad 2", "good 3", "good 4")]
    heard = {}
    reranker = Reranker(Picky(), view="text", method="reason")
    found = reranker.rank_each(lists, on_text=lambda i, text, page=None: heard.update({i: heard.get(i, "") + text}))
    assert [isinstance(f, ContextLengthError) for f in found] == [False, False, True, False, False]
    for i, one in enumerate(found):
        if i != 2:
            assert heard[i] == one.reply

    class Down(ScriptedEngine):
        calls = 0

        def generate(self, requests, sampling, on_text=None):
            Down.calls += 1
            raise EngineError("down", retryable=True)

    found = Reranker(Down(), view="text", method="reason").rank_each(lists)
    assert [str(f) for f in found] == ["down"] * 5
    assert Down.calls == 1


def test_the_text_budget_of_a_list_does_not_depend_on_its_company():
    engine = ScriptedEngine(capabilities=Capabilities(True, True, True, True, True, 3600))
    words = "harbour seal crane tide pilot " * 400
    short, long = (Candidates("q" * n, [Page("d", i + 1, words + str(i)) for i in range(n)]) for n in (3, 12))
    settings = MethodSettings(view="text", max_new_tokens=200)

    def prompts(lists):
        before = len(engine.requests)
        method("reason")(engine, lists, settings)
        return {r.question: r.messages for r in list(engine.requests)[before:]}

    together = prompts([short, long])
    assert together["qqq"] == prompts([short])["qqq"]
