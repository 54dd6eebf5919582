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

Besides a plain list these are read, with the answer's tags or without: a numbered list of pages (``1. Image 3``), a chain
(``Image 3 > Image 1``), JSON with one list of pages, fenced or not. Without tags also a list that ends the text
(``The order is [3, 1].``) or stands on a line of its own. A numbered list of prose is no answer. Reading takes time linear in the
length of the reply.
"""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate, islice

from mmr5.errors import ReplyError
from mmr5.types import Issue

ANSWER_END = "</answer>"
NOT_AN_ID = 0
"""Stands in ``raw_ids`` for an item that is no usable id; ids are one-based, so it is out of range for every n."""

VERDICTS = ("Yes", "No")
"""How a reply about one page (method ``pointwise``) begins: relevant, not relevant."""

_VERDICT = re.compile(r"\s*(yes|no)\b[\s.,:;–—-]*", re.IGNORECASE)
_TAG = re.compile(r"<(/?)(think|answer)>", re.IGNORECASE)
_THINK = re.compile(r"<think>", re.IGNORECASE)
_THINK_END = re.compile(r"</think>", re.IGNORECASE)
_ANSWER_TAG = re.compile(r"<answer>", re.IGNORECASE)
_ANSWER_TAGS = re.compile(r"<(/?)answer>", re.IGNORECASE)
_ITEM = re.compile(
    r"""[^\W_](?:
        (?P<range>(?<=\d)(?<![\d.+-]\d)\d*+\s*+[-–—~]\s*+\d++(?!\.\d))
      | (?P<float>(?<=\d)\d*+\.\d++)
      | (?P<int>(?<=\d)\d*+)
      | (?P<word>[^\W\d_]*+)
    )""",
    re.VERBOSE,
)
_SOME_IDS = re.compile(r"[\s,]*+\d[\d\s,]*+")
_LIST_START = re.compile(r"\[\s*+\d++\s*+,")
_PAGE = r"(?:(?:image|page)\s++)?+\[?+\d++\]?+"
_CHAIN = re.compile(rf"(?<![\w\[]){_PAGE}(?:\s*+>\s*+{_PAGE})++", re.IGNORECASE)
_ONE_PAGE = re.compile(r"(?:(?:image|page)\s++)?+\d++", re.IGNORECASE)
_NUMBERED = re.compile(r"(\d{1,9})[.)]\s++(\S.*)", re.DOTALL)
_ENTRY = re.compile(r"(?P<label>(?:(?:image|page)\s++)?+\[?+)(?P<id>\d++)\]?+\s*+(?P<rest>.*)", re.IGNORECASE | re.DOTALL)
_NEXT_NUMBER = re.compile(r"[ \t,;](?<![\s,;]{2})[ \t,;]*+(?=\d{1,9}[.)]\s)")
_LANGUAGE = re.compile(r"json\b|[^\W\d_]*+[ \t\r]*\n", re.IGNORECASE)
_EMPHASIS = " \t\r\n*`\"'"
_LABEL_WORDS = frozenset({"image", "images", "page", "pages", "id", "and"})
_NOTE = re.compile(r"^[ \t]*(?:Image|Page)[ \t]+(\d{1,6})[ \t]*[:：][ \t]*", re.IGNORECASE | re.MULTILINE)
_LETTER_LABEL = re.compile(r"(?P<lead>\b(?:image|page)\s)(?P<letter>[A-Z])(?![\w'])", re.IGNORECASE)
_LETTER = re.compile(r"(?P<lead>)(?<![\w'.])(?P<letter>[A-Z])(?![\w'])")
_MAX_DIGITS = 9
_REACH = 100_000
"""In so many characters, at the end of the reply or between the answer's tags, other forms than a plain list are looked for."""
_SPARE_ITEMS = 10_000
"""An answer about n pages is read up to 2n and so many items, and its reasoning up to as many notes: a longer one is no ranking,
and earns nothing for its format."""


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
        enclosed: the answer that counts stands between both its tags, and its square brackets balance.
    """

    order: tuple[int, ...]
    predicted: tuple[int, ...]
    raw_ids: tuple[int, ...]
    issues: tuple[Issue, ...]
    reasoning: str | None
    notes: tuple[str | None, ...]
    well_formed: bool
    enclosed: bool


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
    parts = _split(reply)
    raw, numeric = _ids(parts.answer, n) if parts.answer is not None else ((), True)
    in_range = [i - 1 for i in raw if 1 <= i <= n]
    predicted = tuple(dict.fromkeys(in_range))
    named = set(predicted)
    order = predicted + tuple(i for i in range(n) if i not in named)
    flags = {
        Issue.NO_ANSWER: not parts.opened or (not raw and n > 0),
        Issue.NO_THINK: think and not parts.reasoning,
        Issue.DUPLICATE: len(in_range) > len(predicted),
        Issue.OUT_OF_RANGE: any(i != NOT_AN_ID and not 1 <= i <= n for i in raw),
        Issue.MISSING: parts.opened and bool(raw) and len(predicted) < n,
        Issue.TRUNCATED: truncated or parts.thinking or (parts.opened and not parts.closed),
        Issue.NOT_A_NUMBER: not numeric,
    }
    issues = tuple(issue for issue, is_so in flags.items() if is_so)
    if strict and issues:
        raise ReplyError(
            f"The reply is not a clean ranking of {n} candidates ({', '.join(issues)}): {_shorten(reply)!r}. "
            "Without strict it is repaired: first mention wins, the missing keep first-stage order."
        )
    return Parsed(
        order,
        predicted,
        raw,
        issues,
        parts.reasoning,
        _notes(parts.reasoning or "", n),
        well_formed(reply, think=think),
        parts.closed and _balanced(parts.answer or ""),
    )


def with_numbers(reply: str, n: int) -> str:
    """A reply that calls its pages by letters, with their numbers instead: in the labels of notes and in the answer.

    Args:
        reply: all that the model wrote, prefill included.
        n: number of candidates, at most 26.
    """
    end = _THINK_END.search(reply)
    cut = 0 if end is None else end.end()

    def number(found: re.Match[str]) -> str:
        place = ord(found["letter"].upper()) - ord("A") + 1
        return f"{found['lead']}{place}" if place <= n else found[0]

    labelled = _LETTER_LABEL.sub(number, reply[:cut])
    return labelled + _LETTER.sub(number, _LETTER_LABEL.sub(number, reply[cut:]))


def well_formed(reply: str, *, think: bool = True) -> bool:
    """Whether a reply is properly enclosed (paper section 3.3.2, R_valid).

    True for exactly one ``<think>…</think>`` (with ``think``; none without) followed by exactly one
    ``<answer>[…]</answer>`` holding a comma-separated list of whole numbers, and nothing else but white space. The brackets
    may be left out, both of them, and a comma may end the list. An answer quoted inside the think block does not count against
    it.
    """
    text = reply.strip()
    if think:
        if text[:7].lower() != "<think>":
            return False
        end = _THINK_END.search(text)
        if end is None or not text[7 : end.start()].strip():
            return False
        text = text[end.end() :].strip()
    opened, closed = _ANSWER_TAG.match(text), text[-len(ANSWER_END) :].lower() == ANSWER_END
    return opened is not None and closed and _is_list(text[opened.end() : -len(ANSWER_END)])


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


@dataclass(frozen=True, slots=True)
class _Parts:
    """A reply, taken apart.

    Attributes:
        reasoning: what was thought, stripped; None when there is nothing.
        answer: the text that names the order; None when there is none.
        opened: the answer stands behind ``<answer>``.
        closed: and before ``</answer>``.
        thinking: a think block was left open.
    """

    reasoning: str | None
    answer: str | None
    opened: bool = False
    closed: bool = False
    thinking: bool = False


def _split(reply: str) -> _Parts:
    opening, end = _THINK.search(reply), _THINK_END.search(reply)
    if end is None and opening is not None:
        return _Parts(reply[opening.end() :].strip() or None, None, thinking=True)
    tail = 0 if end is None else end.end()
    start, stop = _answer_span(reply, tail)
    reasoning = None
    if end is not None:
        close = (_last(_THINK_END.finditer(reply, end.start(), len(reply) if start is None else start)) or end).start()
        begin = opening.end() if opening is not None and opening.end() <= close else 0
        reasoning = reply[begin:close].strip() or None
    if start is None:
        return _Parts(reasoning, _untagged(reply[tail:]))
    return _Parts(reasoning, reply[start:stop], opened=True, closed=stop is not None)


def _last(matches: Iterable[re.Match[str]]) -> re.Match[str] | None:
    return next(iter(deque(matches, maxlen=1)), None)


def _answer_span(reply: str, start: int) -> tuple[int | None, int | None]:
    """Where the answer that counts begins and ends: the last with both its tags, else the last that is opened."""
    opened: int | None = None
    closed: tuple[int, int] | None = None
    for tag in _ANSWER_TAGS.finditer(reply, start):
        if not tag[1]:
            opened = tag.end()
        elif opened is not None:
            closed, opened = (opened, tag.start()), None
    return closed or (opened, None)


def _is_list(text: str) -> bool:
    """Whether a text is whole numbers with commas between them, in square brackets or without."""
    text = text.strip()
    if text[:1] == "[" or text[-1:] == "]":
        if text[:1] + text[-1:] != "[]":
            return False
        text = text[1:-1].strip()
    return all(map(str.isdecimal, map(str.strip, text.removesuffix(",").split(","))))


def _balanced(text: str) -> bool:
    """Whether every ``[`` has its ``]``."""
    depths = accumulate(map({"[": 1, "]": -1}.__getitem__, filter("[]".__contains__, text)))
    return text.count("[") == text.count("]") and min(depths, default=0) >= 0


def _untagged(text: str) -> str | None:
    """The part of a reply without an answer's opening tag that names an order; None when none does for certain."""
    text = _TAG.sub("\n", text.strip()[-_REACH:]).strip()
    found = _fenced(text) or _whole_order(text) or _closing(text)
    return found or next(filter(_alone, reversed(text.split("\n"))), None) or _last_numbered(text)


def _fenced(text: str) -> str | None:
    """The order in the last fenced block, where it holds nothing else."""
    parts = text.rsplit("```", 2)
    return None if len(parts) < 3 else _whole_order(_without_language(parts[1]))


def _whole_order(text: str) -> str | None:
    """The order that a text is, and nothing else: JSON, a list in square brackets, a chain, or a numbered list of pages."""
    entries = _numbered(text) or [None]
    return _json_ids(text) or (text if _alone(text) else None) or (None if None in entries else _joined(entries))


def _without_language(block: str) -> str:
    """A fenced block without the name of its language."""
    name = _LANGUAGE.match(block)
    return block[name.end() if name else 0 :].strip()


def _json_ids(text: str) -> str | None:
    """The only list of pages in a JSON object."""
    if text[:1] != "{" or text[-1:] != "}":
        return None
    try:
        values = json.loads(text, parse_int=str, parse_float=str, parse_constant=str).values()
    except (ValueError, RecursionError):
        return None
    lists = [value for value in values if isinstance(value, list) and value and all(map(_is_page, value))]
    return ", ".join(lists[0]) if len(lists) == 1 else None


def _is_page(value: object) -> bool:
    return isinstance(value, str) and _ONE_PAGE.fullmatch(value) is not None


def _alone(text: str) -> bool:
    """Whether a text is a list in square brackets, or a chain, and nothing else."""
    text = text.strip(_EMPHASIS).rstrip(".")
    is_list = text[:1] == "[" and text[-1:] == "]" and _SOME_IDS.fullmatch(text, 1, len(text) - 1) is not None
    return is_list or _CHAIN.fullmatch(text) is not None


def _closing(text: str) -> str | None:
    """The list or chain that ends a text.

    One id in brackets counts where there are no other brackets, and no full stop: else it may be a reference to a source.
    """
    ended = text.rstrip(_EMPHASIS + ".!")
    line = ended[ended.rfind("\n") + 1 :]
    chain = _last(_CHAIN.finditer(line))
    if chain is not None and chain.end() == len(line) and (chain.start() == 0 or not chain[0][0].isdecimal()):
        return chain[0]
    start = ended.rfind("[")
    if ended[-1:] != "]" or start < 0 or _SOME_IDS.fullmatch(ended, start + 1, len(ended) - 1) is None:
        return None
    ids = ended[start + 1 : -1]
    several = len(ids.replace(",", " ").split()) > 1
    return ids if several or (ended == text and ended.count("[") == 1) else None


def _numbered(text: str) -> list[str | None] | None:
    """The entries of a text that is a numbered list and nothing else, an id each, None for prose; None for another text."""
    lines = [line for line in text.split("\n") if line.strip()]
    if len(lines) == 1:
        entries = _counted(_NEXT_NUMBER.split(lines[0]))
        if entries is not None and None not in entries:
            return entries
    return _counted(lines)


def _counted(lines: Iterable[str]) -> list[str | None] | None:
    entries: list[str | None] = []
    for line in lines:
        match = _NUMBERED.match(line.strip())
        if match is None or int(match[1]) != len(entries) + 1:
            return None
        entries.append(_entry(match[2]))
    return entries or None


def _last_numbered(text: str) -> str | None:
    """The last numbered list of at least two pages in a text that has no other list."""
    if _LIST_START.search(text):
        return None
    found: list[list[str]] = [[]]
    for line in text.split("\n"):
        match = _NUMBERED.match(line.strip())
        if match is None:
            continue
        number, entry = int(match[1]), _entry(match[2])
        if number == 1:
            found.append([])
        if entry is None or number != len(found[-1]) + 1:
            found[-1] = []
        else:
            found[-1].append(entry)
    return next((_joined(entries) for entries in reversed(found) if len(entries) > 1), None)


def _entry(text: str) -> str | None:
    """The id in an entry of a numbered list; words may follow a labelled one behind a mark, as in ``Image 3: the fees``."""
    match = _ENTRY.match(text.replace("*", "").replace("`", "").strip())
    if match is None:
        return None
    rest = match["rest"]
    if not rest.strip(" .,;:"):
        return match["id"]
    remark = match["label"] and rest[0] in ":,;.(-–—" and not rest[1:].lstrip()[:1].isdecimal()
    return match["id"] if remark else None


def _joined(entries: Iterable[str | None]) -> str:
    return ", ".join(entry for entry in entries if entry is not None)


def _inside(content: str) -> str:
    """The part of an answer between its tags that names the order; of a numbered list without its numbers."""
    text = content.strip()
    if len(text) > _REACH:
        return text
    if text.startswith("```"):
        text = _without_language(text.split("```", 2)[1])
    found = _json_ids(text)
    if found is not None:
        return found
    entries = _numbered(text)
    if entries is not None:
        return "" if None in entries else _joined(entries)
    return ("\n" in text and _last_numbered(text)) or text


def _ids(answer: str, n: int) -> tuple[tuple[int, ...], bool]:
    """The ids of an answer as written, and whether all of it was whole numbers."""
    ids: list[int] = []
    numeric = True
    text, most = _inside(answer), 2 * n + _SPARE_ITEMS
    for item in islice(_ITEM.finditer(text), most):
        kind, written = item.lastgroup, item[0]
        if kind == "word" and written.lower() in _LABEL_WORDS:
            continue
        sign = text[item.start() - 1 : item.start()]
        numeric &= kind == "int"
        if kind == "range":
            ids.extend(_expand(written, n))
        elif kind == "int" or (kind == "float" and set(written.partition(".")[2]) <= set("0٠")):
            ids.append(_whole(written.partition(".")[0], n) * (-1 if sign == "-" else 1))
        else:
            ids.append(NOT_AN_ID)
        if len(ids) >= most:
            break
    return tuple(ids), numeric


def _whole(text: str, n: int) -> int:
    """A whole number in any script's digits; 0, and one too long to be an id, becomes n + 1."""
    digits = text.lstrip("0")
    return (int(digits or "0") or n + 1) if len(digits) <= _MAX_DIGITS else n + 1


def _expand(text: str, n: int) -> list[int]:
    """``"2-4"`` → [2, 3, 4], ``"4-2"`` → [4, 3, 2]; what lies outside 1..n is told by one id n + 1."""
    first, last = (_whole(part.strip(), n) for part in re.split(r"[-–—~]", text, maxsplit=1))
    step = 1 if last >= first else -1
    low, high = max(1, min(first, last)), min(n, max(first, last))
    inside = list(range(low, high + 1))[::step]
    return inside if min(first, last) >= 1 and max(first, last) <= n else [*inside, n + 1]


def _notes(reasoning: str, n: int) -> tuple[str | None, ...]:
    """The sentence on each candidate; the first line about a candidate wins."""
    notes: list[str | None] = [None] * n
    marks = list(islice(_NOTE.finditer(reasoning), 2 * n + _SPARE_ITEMS))
    ends = [*(mark.start() for mark in marks[1:]), None]
    for mark, end in zip(marks, ends, strict=False):
        position = int(mark[1]) - 1
        if 0 <= position < n and notes[position] is None:
            notes[position] = fold(reasoning[mark.end() : end]) or None
    return tuple(notes)


def _shorten(text: str, limit: int = 200) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
