"""Reply ⇄ ranking: the only file that knows the answer grammar.

The grammar (paper section 3.3.2, SFT targets of the released model)::

    <think>
    Image 1: one sentence on the first page.
    Image 2: ...
    </think><answer>[2, 1]</answer>

Reading is forgiving and never fails: every text gives a full permutation, and :class:`mmr5.types.Issue` says what was
wrong. One repair rule: the first mention wins, strangers drop, the missing keep first-stage order. Where several answers
stand, the last one after ``</think>`` counts; an answer quoted while thinking never does. Ids are one-based here and
nowhere else; everything returned is zero-based, but for ``raw_ids``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from mmr5.errors import ReplyError
from mmr5.types import Issue

ANSWER_END = "</answer>"
STRANGER = 0
"""Stands in ``raw_ids`` for an item that is no usable id; ids are one-based, so it is out of range for every n."""

VERDICTS = ("Yes", "No")
"""How a reply about one page (method ``pointwise``) begins: relevant, not relevant."""

_VERDICT = re.compile(r"\s*(yes|no)\b[\s.,:;–—-]*", re.IGNORECASE)
_TAG = re.compile(r"<(/?)(think|answer)>", re.IGNORECASE)
_THINK = re.compile(r"<think>", re.IGNORECASE)
_ANSWER_TAG = re.compile(r"<answer>", re.IGNORECASE)
_THINK_END = re.compile(r"</think>", re.IGNORECASE)
_ANSWER = re.compile(r"<answer>(.*?)</answer>", re.IGNORECASE | re.DOTALL)
_ANSWER_OPEN = re.compile(r"<answer>((?:(?!<answer>).)*)\Z", re.IGNORECASE | re.DOTALL)
_BARE_LIST = re.compile(r"\[([\d\s,]+)\]\s*\Z")
_ITEM = re.compile(
    r"(?P<range>(?<![\d.])\d+\s*[-–—~]\s*\d+(?![\d.]))|(?P<float>[-+]?\d+\.\d+)|(?P<int>[-+]?\d+)|(?P<word>[^\W\d_]+)"
)
_LABEL_WORDS = frozenset({"image", "images", "page", "pages", "id", "and"})
_NOTE = re.compile(r"^[ \t]*(?:Image|Page)[ \t]+(\d{1,6})[ \t]*[:：][ \t]*", re.IGNORECASE | re.MULTILINE)
_LIST_BODY = re.compile(r"\s*\[?\s*\d+(?:\s*,\s*\d+)*\s*,?\s*\]?\s*")
_MAX_DIGITS = 9


@dataclass(frozen=True, slots=True)
class Parsed:
    """What a reply says about n candidates.

    Attributes:
        order: a full permutation of 0..n-1, best first, repaired where needed.
        predicted: the zero-based positions that the reply itself names: in range, de-duplicated, in order.
        raw_ids: every id of the answer as written (one-based), duplicates and strangers included; an item that is no whole
            number stands as 0.
        issues: what was wrong; empty for a clean reply.
        reasoning: the text inside ``<think>``, stripped; None when there is none.
        notes: n sentences by candidate position, from the ``Image i:`` lines of the reasoning; None where there is none.
        well_formed: the reply is nothing but one think block (where asked for) and one answer block with a plain list.
    """

    order: tuple[int, ...]
    predicted: tuple[int, ...]
    raw_ids: tuple[int, ...]
    issues: tuple[Issue, ...]
    reasoning: str | None
    notes: tuple[str | None, ...]
    well_formed: bool


def parse(reply: str, n: int, *, think: bool = True, truncated: bool = False, strict: bool = False) -> Parsed:
    """Read a reply about ``n`` candidates.

    Args:
        reply: all that the model wrote, prefill included.
        n: number of candidates, at least 0.
        think: reasoning was asked for, so that its absence is an issue.
        truncated: the model was cut off at its token limit.
        strict: raise instead of repairing.

    Raises:
        ReplyError: ``strict`` and the reply has an issue.
    """
    reasoning, tail, unclosed = _split(reply)
    content, found = _answer_content(tail, unclosed)
    raw, numeric = _ids(content, n) if content is not None else ((), True)
    in_range = [i - 1 for i in raw if 1 <= i <= n]
    predicted = tuple(dict.fromkeys(in_range))
    named = set(predicted)
    order = predicted + tuple(i for i in range(n) if i not in named)
    flags = {
        Issue.NO_ANSWER: not found or (not raw and n > 0),
        Issue.NO_THINK: think and not reasoning,
        Issue.DUPLICATE: len(in_range) > len(predicted),
        Issue.OUT_OF_RANGE: any(i != STRANGER and not 1 <= i <= n for i in raw),
        Issue.MISSING: found and bool(raw) and len(predicted) < n,
        Issue.TRUNCATED: truncated or unclosed or (content is not None and _ANSWER.search(tail) is None and found),
        Issue.NOT_A_NUMBER: not numeric,
    }
    issues = tuple(issue for issue in Issue if flags[issue])
    if strict and issues:
        raise ReplyError(
            f"The reply is not a clean ranking of {n} candidates ({', '.join(issues)}): {_shorten(reply)!r}. "
            "Without strict it is repaired: first mention wins, the missing keep first-stage order."
        )
    return Parsed(order, predicted, raw, issues, reasoning, _notes(reasoning, n), well_formed(reply, think=think))


def well_formed(reply: str, *, think: bool = True) -> bool:
    """Whether a reply is properly enclosed (paper section 3.3.2, R_valid).

    True for exactly one ``<think>…</think>`` (with ``think``; none without) followed by exactly one
    ``<answer>[…]</answer>`` holding a comma-separated list of whole numbers, and nothing else but white space.
    An answer quoted inside the think block does not count against it.
    """
    text = reply.strip()
    if think:
        if text[:7].lower() != "<think>":
            return False
        end = _THINK_END.search(text)
        if end is None or not text[7 : end.start()].strip():
            return False
        text = text[end.end() :].strip()
    match = _ANSWER.fullmatch(text)
    return match is not None and _TAG.search(match[1]) is None and _LIST_BODY.fullmatch(match[1]) is not None


@dataclass(frozen=True, slots=True)
class Answering:
    """How far the content of an answer is written when nothing but ``[3, 1, 2]</answer>`` may be: each id of 1..n once.

    A blank or a line break may stand before and behind ``[``, behind a comma and behind ``]``.

    Attributes:
        left: ids that are not named yet.
        digits: of the id under way.
        due: what must follow, character by character; empty while ids are written, and when all is written.
        blank: whether a blank may follow.
    """

    left: frozenset[int]
    digits: str = ""
    due: str = "["
    blank: bool = True

    @classmethod
    def begin(cls, n: int) -> Answering:
        """Right behind ``<answer>``; n is at least 1."""
        return cls(frozenset(range(1, n + 1)))

    @property
    def done(self) -> bool:
        """Whether the answer is closed."""
        return not self.left and not self.due

    def after(self, character: str) -> Answering | None:
        """One character on, or None where it may not stand."""
        if character in " \n":
            return Answering(self.left, "", self.due, False) if self.blank else None
        if self.due:
            return Answering(self.left, "", self.due[1:], self.due == "[") if character == self.due[0] else None
        if character in "0123456789":
            digits = self.digits + character
            possible = any(str(i).startswith(digits) for i in self.left)
            return Answering(self.left, digits, "", False) if possible else None
        if not self.digits or int(self.digits) not in self.left:
            return None
        left = self.left - {int(self.digits)}
        if character == "," and left:
            return Answering(left, "", "", True)
        return Answering(left, "", ANSWER_END, True) if character == "]" and not left else None

    def read(self, text: str) -> Answering | None:
        """Some text on, up to the end of the answer; None where a character may not stand."""
        state: Answering | None = self
        for character in text:
            if state is None or state.done:
                break
            state = state.after(character)
        return state


def answer_start(text: str) -> int | None:
    """Where the content of the answer begins in a reply so far; None while it thinks or has not opened its answer."""
    end = _THINK_END.search(text)
    if end is None and _THINK.search(text) is not None:
        return None
    opened = _ANSWER_TAG.search(text, 0 if end is None else end.end())
    return None if opened is None else opened.end()


def format_reply(order: Sequence[int], notes: Sequence[str] | None = None, *, label: str = "Image") -> str:
    """Write the reply that the model is taught to give.

    Args:
        order: zero-based positions, best first.
        notes: one sentence a candidate by position; None for an answer without reasoning (method ``direct``).
        label: the word before the number, ``"Image"`` or ``"Page"`` as in the prompt.

    Returns:
        A text for which ``parse`` gives back the order and (white space folded) the notes, without an issue.

    Raises:
        ValueError: a note is empty or holds one of the grammar's own tags.
    """
    answer = "<answer>[" + ", ".join(str(i + 1) for i in order) + "]</answer>"
    if notes is None:
        return answer
    return f"<think>\n{format_notes(notes, label=label)}\n</think>{answer}"


def format_notes(notes: Sequence[str], *, label: str = "Image") -> str:
    """The lines of the think block, one a candidate.

    Raises:
        ValueError: a note is empty or holds one of the grammar's own tags.
    """
    lines = []
    for i, note in enumerate(notes, start=1):
        folded = fold(note)
        if not folded or _TAG.search(folded):
            raise ValueError(f"note {i} is {note!r}: a note is a sentence without <think> or <answer> tags")
        lines.append(f"{label} {i}: {folded}")
    return "\n".join(lines)


def format_verdict(relevant: bool, note: str) -> str:
    """The reply about one page: ``"Yes. Lists the fees."``.

    Raises:
        ValueError: the note is empty.
    """
    folded = fold(note)
    if not folded:
        raise ValueError("the note is empty: a verdict comes with one sentence on the page")
    return f"{VERDICTS[0] if relevant else VERDICTS[1]}. {folded}"


def parse_verdict(reply: str) -> tuple[bool | None, str | None]:
    """Read a reply about one page: its verdict (None when there is none) and its note (None when empty)."""
    match = _VERDICT.match(reply)
    note = fold(reply[match.end() :] if match else reply)
    return (None if match is None else match[1].lower() == "yes"), note or None


def fold(text: str) -> str:
    """Fold every run of white space into one space, and strip."""
    return " ".join(text.split())


def _split(reply: str) -> tuple[str | None, str, bool]:
    """Reasoning, the text where the answer may stand, and whether a think block was left open."""
    opening = _THINK.search(reply)
    end = _THINK_END.search(reply)
    if end is None:
        if opening is None:
            return None, reply, False
        return reply[opening.end() :].strip() or None, "", True
    answers = list(_ANSWER.finditer(reply, end.end()))
    closings = [m for m in _THINK_END.finditer(reply) if not answers or m.end() <= answers[-1].start()]
    close = closings[-1]
    start = opening.end() if opening is not None and opening.end() <= close.start() else 0
    return reply[start : close.start()].strip() or None, reply[end.end() :], False


def _answer_content(tail: str, unclosed: bool) -> tuple[str | None, bool]:
    """The text inside the answer that counts, and whether it stood in a tag."""
    closed = _ANSWER.findall(tail)
    if closed:
        return closed[-1], True
    if unclosed:
        return None, False
    opened = _ANSWER_OPEN.search(tail)
    if opened is not None:
        return opened[1], True
    bare = _BARE_LIST.search(tail)
    return (bare[1], False) if bare is not None else (None, False)


def _ids(content: str, n: int) -> tuple[tuple[int, ...], bool]:
    """The ids of an answer as written, and whether all of it was whole numbers."""
    ids: list[int] = []
    numeric = True
    for item in _ITEM.finditer(content):
        kind, text = item.lastgroup, item[0]
        if kind == "int":
            ids.append(_whole(text, n))
            continue
        if kind == "word" and text.lower() in _LABEL_WORDS:
            continue
        numeric = False
        if kind == "range":
            ids.extend(_expand(text, n))
        elif kind == "float" and set(text.partition(".")[2]) <= set("0٠"):
            ids.append(_whole(text.partition(".")[0], n))
        else:
            ids.append(STRANGER)
    return tuple(ids), numeric


def _whole(text: str, n: int) -> int:
    """A whole number in any script's digits; one too long to be an id becomes n + 1."""
    digits = text.lstrip("+-")
    if len(digits.lstrip("0")) > _MAX_DIGITS:
        return n + 1
    value = int(digits)
    return -value if text.startswith("-") and value else value if value else n + 1


def _expand(text: str, n: int) -> list[int]:
    """``"2-4"`` → [2, 3, 4], ``"4-2"`` → [4, 3, 2]; what lies outside 1..n is told by one id n + 1."""
    first, last = (_whole(part, n) for part in re.split(r"[-–—~]", text.replace(" ", ""), maxsplit=1))
    step = 1 if last >= first else -1
    low, high = max(1, min(first, last)), min(n, max(first, last))
    inside = list(range(low, high + 1))[::step]
    return inside if min(first, last) >= 1 and max(first, last) <= n else [*inside, n + 1]


def _notes(reasoning: str | None, n: int) -> tuple[str | None, ...]:
    """The sentence on each candidate; the first line about a candidate wins."""
    notes: list[str | None] = [None] * n
    marks = list(_NOTE.finditer(reasoning or ""))
    ends = [*(mark.start() for mark in marks[1:]), None]
    for mark, end in zip(marks, ends, strict=False):
        position = int(mark[1]) - 1
        text = fold((reasoning or "")[mark.end() : end])
        if 0 <= position < n and notes[position] is None and text:
            notes[position] = text
    return tuple(notes)


def _shorten(text: str, limit: int = 200) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
