"""List-wise methods: one prompt holds all candidates, and the reply holds their order (paper section 3.1).

``reason`` thinks about every page before it answers; ``direct`` answers at once. Lists longer than the window are read in
windows from the tail; K samples over shuffled candidates are merged by Borda count.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from mmr5 import prompt, windows
from mmr5.answer import ANSWER_END, answer_start, parse, with_numbers
from mmr5.engines.protocol import Engine, OnText, Reply, Request, Sampling, require
from mmr5.methods import inputs
from mmr5.settings import MethodSettings
from mmr5.types import Candidates, Issue, Ranking, ScoreKind, Usage

DIRECT_TOKENS_PER_PAGE = 6
"""Room for one id, comma and space in an answer without reasoning."""
ANSWER_TOKENS = 16
"""Room for what stands around the ids."""


Ask = Callable[[Sequence[Candidates], Sequence[int], Sequence[int | None]], list[Ranking]]
"""Ranks windows, each small enough for one prompt: ``ask(windows, budgets, listeners)``; positions are within a window.

``budgets`` are the text budgets of a page in tokens, one a window; ``listeners`` are the positions of the lists that the
windows belong to, None for a window whose text nobody hears (a further sample)."""


def rank_reason(
    engine: Engine, batch: Sequence[Candidates], settings: MethodSettings, on_text: OnText | None = None
) -> list[Ranking]:
    """Think about all pages, then answer with the order (the paper's method).

    Args:
        engine: writes.
        batch: the candidate lists.
        settings: the knobs.
        on_text: called as ``on_text(position in batch, text)`` while replies are written. What it hears of a list is the reply
            of its first sample, windows parted by an empty line.
    """
    return _rank(engine, batch, settings, on_text, think=True)


def rank_direct(
    engine: Engine, batch: Sequence[Candidates], settings: MethodSettings, on_text: OnText | None = None
) -> list[Ranking]:
    """Answer with the order at once (the paper's baseline without chain of thought); arguments as :func:`rank_reason`."""
    short = min(settings.max_new_tokens, _room(settings.window))
    return _rank(engine, batch, replace(settings, max_new_tokens=short, think_tokens=None), on_text, think=False)


def _rank(
    engine: Engine, batch: Sequence[Candidates], settings: MethodSettings, on_text: OnText | None, *, think: bool
) -> list[Ranking]:
    require(engine, "generate", f"method {'reason' if think else 'direct'!r}")
    if settings.think_tokens is not None:
        require(engine, "prefill", "think_tokens")
    if settings.constrain:
        require(engine, "constrain", "a constrained answer")
    inputs.check(engine, settings, "reason" if think else "direct")

    heard: set[int] = set()

    def ask(parts: Sequence[Candidates], room: Sequence[int], listeners: Sequence[int | None]) -> list[Ranking]:
        requests = [request(engine, c, settings, budget, think=think) for c, budget in zip(parts, room, strict=True)]
        if settings.constrain:
            opening = "" if think else prompt.ANSWER_PREFILL
            requests = [replace(r, answer_ids=len(c), prefill=opening) for r, c in zip(requests, parts, strict=True)]
        written = _write(engine, requests, settings, _routed(on_text, listeners, heard))
        return [_read(reply, opening, len(c), settings, think=think) for (reply, opening), c in zip(written, parts, strict=True)]

    return rank_windows(engine, batch, settings, ask, think=think)


def _routed(on_text: OnText | None, listeners: Sequence[int | None], heard: set[int]) -> OnText | None:
    """From request to list; the windows of a list are parted by an empty line."""
    if on_text is None:
        return None
    late = {listener for listener in listeners if listener in heard}

    def route(position: int, text: str) -> None:
        listener = listeners[position]
        if listener is None:
            return
        heard.add(listener)
        on_text(listener, "\n\n" + text if listener in late else text)
        late.discard(listener)

    return route


def request(
    engine: Engine, candidates: Candidates, settings: MethodSettings, budget: int, *, think: bool, prefill: str = ""
) -> Request:
    """The list-wise prompt of one window.

    Args:
        engine: its tokenizer measures the excerpts.
        candidates: at most a window of pages.
        settings: the view.
        budget: tokens of text a page.
        think: ask for reasoning.
        prefill: opening of the assistant's turn.
    """
    messages = prompt.listwise(
        candidates.query,
        view=settings.view,
        think=think,
        images=inputs.images(candidates.pages, settings.view),
        texts=inputs.texts(candidates.query, candidates.pages, settings.view, budget, engine),
        reserved=inputs.reserved(engine, settings),
        wording=settings.wording,
        ids=settings.ids,
    )
    question = prompt.neutralise(candidates.query, inputs.reserved(engine, settings))
    return Request(messages, prefill, keep=settings.keep, question=question, n_pages=len(candidates), think=think)


def budgets(engine: Engine, candidates: Candidates, settings: MethodSettings, *, think: bool) -> tuple[MethodSettings, int]:
    """Window and text budget a page for one list; those of a list do not depend on the others of its batch."""
    n = len(candidates)
    bare = prompt.listwise(
        candidates.query,
        view="text",
        think=think,
        texts=[""] * min(n, settings.window),
        reserved=inputs.reserved(engine, settings),
        wording=settings.wording,
        ids=settings.ids,
    )
    window, page_tokens = inputs.window_budget(engine, settings, inputs.prompt_tokens(engine, Request(bare)), n)
    return inputs.fit(settings, window), page_tokens


def rank_windows(
    engine: Engine,
    batch: Sequence[Candidates],
    settings: MethodSettings,
    ask: Ask,
    *,
    think: bool,
) -> list[Ranking]:
    """Rank lists of any length with a function that ranks windows.

    All lists of the batch move through their windows together, so that each step is one call of ``ask``.

    Args:
        engine: for its context and tokenizer.
        batch: the candidate lists; an empty one gives an empty ranking.
        settings: window, overlap, samples, seed.
        ask: ranks windows of at most ``settings.window`` pages, each within its text budget a page; the scores that it gives
            are kept for a list that fits one window and one sample.
        think: whether the prompt asks for reasoning (its words take room).
    """
    states = []
    for candidates in batch:
        fitted, budget = budgets(engine, candidates, settings, think=think)
        plan = windows.spans(len(candidates), fitted.window, fitted.overlap)
        for sample in range(settings.samples):
            states.append(_State(candidates, _shuffled(len(candidates), sample, settings.seed), plan, budget))
    listeners = {id(states[i]): i // settings.samples for i in range(0, len(states), settings.samples)}
    for step in range(max((len(state.plan) for state in states), default=0)):
        moving = [s for s in states if step < len(s.plan)]
        parts = [s.candidates.subset(s.order[slice(*s.plan[step])]) for s in moving]
        found = ask(parts, [s.budget for s in moving], [listeners.get(id(s)) for s in moving])
        for state, window in zip(moving, found, strict=True):
            state.take(state.plan[step], window)
    groups = [states[i : i + settings.samples] for i in range(0, len(states), settings.samples)]
    return [_merge(group) for group in groups]


@dataclass(slots=True)
class _State:
    """One sample of one list on its way through the windows."""

    candidates: Candidates
    order: list[int]
    plan: Sequence[tuple[int, int]]
    budget: int
    windows: list[Ranking] = field(default_factory=list)
    notes: dict[int, str] = field(default_factory=dict)
    scores: dict[int, float] = field(default_factory=dict)

    def take(self, span: tuple[int, int], window: Ranking) -> None:
        """Apply the ranking of the pages at ``span``."""
        here = self.order[slice(*span)]
        for place, position in enumerate(here):
            if window.notes is not None and window.notes[place] is not None:
                self.notes[position] = window.notes[place] or ""
            if window.scores is not None:
                self.scores[position] = window.scores[place]
        self.order = windows.reorder(self.order, span, window.order)
        self.windows.append(window)


def _shuffled(n: int, sample: int, seed: int) -> list[int]:
    """First-stage order for sample 0, a seeded shuffle for every other."""
    order = list(range(n))
    if sample:
        random.Random(f"{seed}/{sample}/{n}").shuffle(order)  # noqa: S311 - a seeded shuffle, not a secret
    return order


def _merge(group: Sequence[_State]) -> Ranking:
    """One ranking out of the samples of one list."""
    n = len(group[0].order)
    parts = [window for state in group for window in state.windows]
    notes: list[str | None] = [next((s.notes[i] for s in group if i in s.notes), None) for i in range(n)]
    found = {issue for part in parts for issue in part.issues}
    replies = [part.reply for part in parts if part.reply is not None]
    order, scores, kind = _scored(group, parts)
    return Ranking(
        order,
        scores,
        kind,
        tuple(notes),
        "\n\n".join(part.reasoning for part in parts if part.reasoning) or None,
        None if not replies else "\n\n".join(replies),
        tuple(i for i in Issue if i in found),
        sum((part.usage for part in parts), Usage()),
        parse_ms=sum(part.parse_ms for part in parts),
    )


def _scored(group: Sequence[_State], parts: Sequence[Ranking]) -> tuple[tuple[int, ...], tuple[float, ...], ScoreKind | None]:
    """Order, scores and their kind: the window's own where there is one window and sample, else places in the order."""
    order, own = group[0].order, group[0].scores
    n = len(order)
    if len(group) > 1:
        shares = windows.borda([s.order for s in group]) if n else []
        return tuple(sorted(range(n), key=lambda i: (-shares[i], i))), tuple(shares), ScoreKind.BORDA
    if len(parts) == 1 and len(own) == n:
        return tuple(order), tuple(own[i] for i in range(n)), parts[0].score_kind
    return tuple(order), tuple(1 / (order.index(i) + 1) for i in range(n)), ScoreKind.RECIPROCAL_RANK


def _room(n: int) -> int:
    """Tokens that an answer of n ids may take."""
    return ANSWER_TOKENS + DIRECT_TOKENS_PER_PAGE * n


def _write(
    engine: Engine, requests: Sequence[Request], settings: MethodSettings, on_text: OnText | None
) -> list[tuple[Reply, str]]:
    """Replies, each with the opening that was put into the model's mouth.

    A thought that is cut short, or a constrained reply that ends without its answer, is closed, and the answer is asked for.
    """
    sampling = Sampling(settings.max_new_tokens, settings.temperature, seed=settings.seed, stop=(ANSWER_END,))
    if settings.think_tokens is None and (not settings.constrain or any(r.prefill for r in requests)):
        return [(reply, r.prefill) for reply, r in zip(_heard(engine, requests, sampling, on_text), requests, strict=True)]
    room = _room(settings.window)
    if settings.think_tokens is not None:
        thinking = replace(sampling, max_new_tokens=settings.think_tokens, stop=("</think>", ANSWER_END))
    else:
        thinking = replace(sampling, max_new_tokens=max(1, settings.max_new_tokens - room))
    first = _heard(engine, requests, thinking, on_text)
    openings = [_closed(reply.text, constrained=settings.constrain) for reply in first]
    unanswered = [i for i, opening in enumerate(openings) if not _answered(opening)]
    if on_text is not None:
        for i, (reply, opening) in enumerate(zip(first, openings, strict=True)):
            if tail := opening.rpartition(reply.text.rstrip())[2] if reply.text.strip() else opening:
                on_text(i, tail)
    asked = [replace(requests[i], prefill=openings[i]) for i in unanswered]
    answering = replace(sampling, max_new_tokens=room) if settings.constrain else sampling
    listen = None if on_text is None else lambda k, text: on_text(unanswered[k], text)
    rest = _generate(engine, asked, answering, listen) if asked else []
    done: list[tuple[Reply, str]] = [(Reply("", "stop", r.usage), o) for r, o in zip(first, openings, strict=True)]
    for i, reply in zip(unanswered, rest, strict=True):
        done[i] = (Reply(reply.text, reply.finish, first[i].usage + reply.usage), openings[i])
    return done


def _heard(engine: Engine, requests: Sequence[Request], sampling: Sampling, on_text: OnText | None) -> list[Reply]:
    """Replies; the openings that are put into the model's mouth are heard first."""
    if on_text is not None:
        for i, request in enumerate(requests):
            if request.prefill:
                on_text(i, request.prefill)
    return _generate(engine, requests, sampling, on_text)


def _generate(engine: Engine, requests: Sequence[Request], sampling: Sampling, on_text: OnText | None) -> list[Reply]:
    """Engines without an ear for text may lack the argument."""
    return engine.generate(requests, sampling, **({} if on_text is None else {"on_text": on_text}))


def _closed(text: str, *, constrained: bool) -> str:
    """A reply as the opening of its answer; one that holds its answer stays as it is.

    The thought is closed and the answer opened; a constrained answer that is under way is gone on with.
    """
    if constrained and answer_start(text) is not None:
        return text
    thought = text if "<think>" in text else "<think>\n" + text
    closed = thought if "</think>" in thought else thought.rstrip() + "\n</think>"
    return closed if _answered(closed) else closed[: closed.index("</think>") + len("</think>")] + prompt.ANSWER_PREFILL


def _answered(text: str) -> bool:
    start = answer_start(text)
    return start is not None and ANSWER_END in text[start:]


def _read(reply: Reply, opening: str, n: int, settings: MethodSettings, *, think: bool) -> Ranking:
    """The ranking that a reply tells."""
    text = opening + reply.text
    start = time.perf_counter()
    numbered = with_numbers(text, n) if settings.ids == "letters" else text
    parsed = parse(numbered, n, think=think, truncated=reply.finish == "length", strict=settings.strict)
    spent = (time.perf_counter() - start) * 1000
    return Ranking(
        parsed.order,
        notes=parsed.notes,
        reasoning=parsed.reasoning,
        reply=text,
        issues=parsed.issues,
        usage=reply.usage,
        parse_ms=spent,
    )
