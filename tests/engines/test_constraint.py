"""Constrained answers: what may be written, which tokens spell it, and that replies keep to it."""

import random

import pytest
import torch

from mmr5.answer import Answering, answer_start, format_reply, parse
from mmr5.engines.openai.engine import OpenAIEngine
from mmr5.engines.protocol import Request, Sampling
from mmr5.engines.runtime.constraint import NEEDED, AnswerTokens, Guard
from mmr5.engines.runtime.generation import constrain
from mmr5.engines.scripted import ScriptedEngine
from mmr5.engines.transformers import TransformersEngine
from mmr5.errors import CapabilityError, ConfigError
from mmr5.methods import MethodSettings, method
from mmr5.types import Candidates, Page
from support.tiny import Picture, tokenizer

MERGED = [
    "1,",
    "10",
    "12",
    "11",
    ", ",
    ",Ġ1",
    "]</",
    "],",
    ">[",
    ">[[",
    "answer",
    "[1",
    "2]",
    "</answer",
    "]</answer>Ċ",
    ",,",
    "13",
]


def merging():
    """The tiny tokenizer, and tokens that hold several characters of an answer."""
    made = tokenizer()
    vocabulary = len(made)
    made.add_tokens([t.replace("Ġ", " ").replace("Ċ", "\n") for t in MERGED])
    assert len(made) == vocabulary + len(MERGED)
    return made


def spelt(order):
    return format_reply(order)[len("<answer>") :]


@pytest.mark.parametrize("n", [1, 2, 9, 12, 101])
def test_every_full_ranking_may_be_written_and_nothing_may_follow(n):
    order = list(range(n))
    random.Random(n).shuffle(order)
    text = spelt(order)
    states = [Answering.begin(n).read(text[:i]) for i in range(len(text) + 1)]
    assert None not in states
    assert [s.done for s in states] == [False] * len(text) + [True]


@pytest.mark.parametrize(
    "text",
    [
        "1",
        "[0",
        "[4",
        "[01",
        "[1, 1]",
        "[1, 1,",
        "[1]",
        "[1, 2]",
        "[,",
        "[1  ",
        "[1,  2",
        "[1, 2, 3,",
        "[1, 2, 3 ]",
        "[1-",
        "[[",
        "]",
    ],
)
def test_what_is_no_ranking_of_three_may_not_be_written(text):
    assert Answering.begin(3).read(text) is None


@pytest.mark.parametrize("text", ["\n[3,1,2]\n</answer>", " [ 1, 3,\n2] </answer>", "[2, 1, 3]</answer> and what comes after"])
def test_blanks_are_free_where_the_reader_takes_them(text):
    assert Answering.begin(3).read(text).done
    assert parse(f"<answer>{text[: text.index('</') + 9]}", 3, think=False).issues == ()


def test_an_id_that_begins_another_stays_possible():
    after = Answering.begin(12).read("[1, ")
    assert {c for c in "0123456789" if after.after(c)} == set("123456789")
    assert after.read("1,") is None
    assert after.read("11, 10, 12,") is not None


@pytest.mark.parametrize(
    ("reply", "content"),
    [
        ("<think>a</think><answer>[1", "[1"),
        ("<answer>[1", "[1"),
        ("<think>I say <answer>[2", None),
        ("<think>I say <answer>[2]</answer></think>", None),
        ("<think>I say <answer>[2]</answer></think>\n<ANSWER>", ""),
        ("nothing", None),
    ],
)
def test_the_answer_begins_after_the_thought(reply, content):
    start = answer_start(reply)
    assert (None if start is None else reply[start:]) == content


def possible(state, text):
    """Whether a text may follow, character by character."""
    for character in text:
        state = None if state is None or state.done else state.after(character)
    return bool(text) and state is not None


@pytest.mark.parametrize("make", [tokenizer, merging])
def test_the_tokens_that_may_follow_are_exactly_those_that_leave_a_ranking_possible(make):
    words = make()
    spelling = AnswerTokens(words)
    texts = {i: words.decode([i]) for i in range(len(words)) if i not in words.all_special_ids}
    for n, written in [
        (12, ""),
        (12, "["),
        (12, "[1"),
        (12, "[10, 1, "),
        (2, "[2, 1"),
        (2, "[2, 1]"),
        (2, "[2, 1]</ans"),
        (13, "[1"),
    ]:
        state = Answering.begin(n).read(written)
        found = spelling.following(state)
        assert found == [i for i, text in texts.items() if possible(state, text)]
        assert found
        assert spelling.following(state) is found
    one = words.convert_tokens_to_ids("1,")
    if make is merging:
        assert one in spelling.following(Answering.begin(12).read("["))
        assert one not in spelling.following(Answering.begin(12).read("[1, "))


def test_a_tokenizer_that_cannot_spell_an_answer_is_refused():
    from tokenizers import Tokenizer, decoders, models
    from transformers import PreTrainedTokenizerFast

    vocabulary = {c: i for i, c in enumerate([*sorted(NEEDED - {"7"}), "<unk>"])}
    inner = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    inner.decoder = decoders.Fuse()
    words = PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="<unk>")
    with pytest.raises(CapabilityError, match=r"none for \['7'\]"):
        AnswerTokens(words)


def test_a_token_that_opens_the_answer_wrongly_is_not_taken():
    words = merging()
    guard = Guard(AnswerTokens(words), 3)
    one, two = words.convert_tokens_to_ids(">["), words.convert_tokens_to_ids(">[[")
    assert guard.allowed("<think>x</think><answer") is None
    assert guard.takes("<think>x</think><answer", one)
    assert not guard.takes("<think>x</think><answer", two)
    assert guard.takes("<think>a <answer", two)
    with pytest.raises(ConfigError, match="cannot name each id"):
        Guard(AnswerTokens(words), 3, "<answer>[4")


def test_logits_of_what_may_be_written_stay_as_they_are():
    words = merging()
    guard = Guard(AnswerTokens(words), 3, "<answer>[")
    logits = torch.randn(2, len(words))
    before = logits.clone()
    constrain(logits, [(None, ""), (guard, "2, ")])
    allowed = guard.allowed("2, ")
    assert torch.equal(logits[0], before[0])
    assert torch.equal(logits[1, allowed], before[1, allowed])
    assert torch.isinf(logits[1]).sum() == len(words) - len(allowed)


def pages(n):
    return tuple(
        Page("a", i + 1, text=f"page {i} on cargo {'x' * i}", image=Picture(str(i), mark=("red", "blue")[i % 2]))
        for i in range(n)
    )


@pytest.fixture(scope="module", params=["text", "vision", "plain"])
def engine(request, tiny_text, tiny_vision):
    folder = tiny_vision if request.param == "vision" else tiny_text
    return TransformersEngine.from_pretrained(
        str(folder), dtype="float32", device="cpu", max_pixels=16 * 784, caches=request.param != "plain"
    )


LISTS = [Candidates(f"who is it{'?' * i}", pages(n)) for i, n in enumerate([3, 12, 1, 5])]


@pytest.mark.parametrize("name", ["direct", "reason"])
@pytest.mark.parametrize("options", [{}, {"think_tokens": 7}, {"temperature": 1.5}])
def test_every_reply_of_a_random_model_is_a_full_ranking(engine, name, options):
    view = "image" if engine.capabilities.images else "text"
    settings = MethodSettings(view=view, max_new_tokens=150, constrain=True, strict=True, **options)
    heard = {}
    rankings = method(name)(engine, LISTS, settings, lambda i, text: heard.setdefault(i, []).append(text))
    for i, (ranking, candidates) in enumerate(zip(rankings, LISTS, strict=True)):
        assert ranking.issues == ()
        assert sorted(ranking.order) == list(range(len(candidates)))
        assert ranking.reply.endswith("</answer>")
        assert "".join("".join(heard[i]).split()) in "".join(ranking.reply.split())
        assert "".join(heard[i]).count("<answer>") == 1
    if "temperature" not in options:
        alone = [method(name)(engine, [c], settings)[0].order for c in LISTS]
        assert [r.order for r in rankings] == alone
        assert alone[1] != tuple(range(12))


def test_a_reply_that_is_a_full_ranking_by_itself_is_not_changed(tiny_text, monkeypatch):
    """A model that wants to write given replies: logits are lifted for the token that comes next in them."""
    engine = TransformersEngine.from_pretrained(str(tiny_text), dtype="float32", device="cpu")
    wanted = ["<think>\nPage 1: x > y.\n</think><answer>[2, 12, 1, 3, 4, 5, 6, 7, 8, 9, 10, 11]</answer>", "<think>z</think><answer>\n[1,2]</answer>"]  # fmt: skip
    replies = [engine._prompts.encode(w) for w in wanted]
    inner_read, inner_step = engine._reader.read, engine._reader.step
    place = [0]

    def lift(logits):
        for k, reply in enumerate(replies):
            if place[0] < len(reply) and k < len(logits):
                logits[k][..., reply[place[0]]] += 1000
        place[0] += 1
        return logits

    def read(prompts, wanted):
        place[0] = 0
        found, lengths, states = inner_read(prompts, wanted)
        return lift(list(found)), lengths, states

    monkeypatch.setattr(engine._reader, "read", read)
    monkeypatch.setattr(engine._reader, "step", lambda tokens, states: lift(inner_step(tokens, states)))
    monkeypatch.setattr("mmr5.engines.runtime.generation.SHRINK", 0.0)
    longer, shorter = (Candidates("q" * (9 - i), pages(n)) for i, n in enumerate((12, 2)))
    free, kept = (
        method("reason")(engine, [longer, shorter], MethodSettings(view="text", constrain=c, max_new_tokens=400))
        for c in (False, True)
    )
    assert [r.reply for r in free] == wanted
    assert [r.reply for r in kept] == wanted
    assert [r.usage for r in kept] == [r.usage for r in free]


def test_engines_that_cannot_say_so():
    requests = [Request([{"role": "user", "content": [{"type": "text", "text": "q"}]}], answer_ids=2)]
    for engine in (ScriptedEngine(), OpenAIEngine("m", "http://localhost:1")):
        with pytest.raises(CapabilityError, match=r"'constrain'.*transformers"):
            engine.generate(requests, Sampling(4))
        with pytest.raises(CapabilityError, match="a constrained answer needs 'constrain'"):
            method("reason")(engine, [LISTS[0]], MethodSettings(view="text", constrain=True))
