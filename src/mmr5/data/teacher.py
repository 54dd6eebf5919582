"""The teacher: its engine, its prompts, and the check of what it writes (paper section 3.2.1).

For every page of a list a teacher model writes one sentence, guided by the page's label; then, if wanted, it rewrites the
sentences of a list together. The prompts are the files ``prompts/note.txt`` and ``prompts/refine.txt``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from mmr5.answer import fold, parse
from mmr5.data.consistency import problem_with
from mmr5.engines.protocol import Engine, Reply, Request, Sampling
from mmr5.errors import ConfigError, ContextLengthError, EngineError
from mmr5.excerpts import excerpt
from mmr5.prompt import neutralise
from mmr5.storage.cache import digest
from mmr5.types import Message, Page, Progress, Usage, View

_SECTION = re.compile(r"^## (.+)$", re.MULTILINE)
_LABEL = re.compile(r"^\s*(?:Image|Page)\s+\d+\s*[:.–-]\s*", re.IGNORECASE)
_VERDICT = re.compile(r"^(?:yes|no)\s*[.,:;–—-]\s*", re.IGNORECASE)
"""A verdict before the sentence; "No fees are given" is a sentence."""


@dataclass(frozen=True, slots=True)
class TeacherSettings:
    """How the teacher is asked.

    Attributes:
        view: how a page is shown to it.
        page_tokens: most tokens of a page's text.
        note_tokens: most tokens of a note.
        refine: rewrite the notes of each list together.
        workers: requests at the same time.
        asks: how often a note is asked for when what came back contradicts its label or is no sentence.
        temperature: of the first ask; 0 is greedy. Asking again adds 0.3 each time.
        seed: of sampling.
    """

    view: View = "image"
    page_tokens: int = 3000
    note_tokens: int = 160
    refine: bool = False
    workers: int = 8
    asks: int = 3
    temperature: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("page_tokens", "note_tokens", "workers", "asks"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}: it is at least 1")
        if self.temperature < 0:
            raise ConfigError(f"temperature is {self.temperature}: it is at least 0")


@dataclass(frozen=True, slots=True)
class Written:
    """What came of asking.

    Attributes:
        notes: the sentences: one for a page, N for a list; None when none could be used.
        problem: what was wrong with the last reply, or None.
        asks: how often the teacher was asked.
        usage: tokens of all asks.
    """

    notes: tuple[str, ...] | None
    problem: str | None
    asks: int
    usage: Usage


@cache
def prompt_file(name: str) -> dict[str, str]:
    """The sections of a prompt file, by heading."""
    text = (files("mmr5.data") / "prompts" / f"{name}.txt").read_text(encoding="utf-8")
    parts = _SECTION.split(text)[1:]
    return {heading.strip(): body.strip() for heading, body in zip(parts[::2], parts[1::2], strict=True)}


def teacher_fingerprint(name: str) -> str:
    """Sixteen hex digits that change when the words of a prompt file change."""
    return digest(*(f"{heading}\n{body}" for heading, body in prompt_file(name).items()))[:16]


def open_teacher(
    model: str,
    engine: str,
    base_url: str | None,
    tries: int,
    workers: int,
    device: str = "auto",
    dtype: str = "auto",
    progress: Progress | None = None,
) -> tuple[Engine, bool]:
    """The engine of a teacher.

    Args:
        model: its name on the server, a folder with a checkpoint, or a hub name.
        engine: ``openai``, ``transformers`` or ``scripted``.
        base_url: of the server, for ``openai``.
        tries: how often a request is sent when the server fails and another try may help.
        workers: requests at the same time.
        device: for ``transformers``.
        dtype: for ``transformers``.
        progress: told of the loading.

    Returns:
        The engine, and whether it does one thing at a time.

    Raises:
        ConfigError: an address that is missing, or given to an engine without a server.
        ModelNotFoundError: there is no such model.
    """
    from mmr5.engines.opening import open_engine

    own: dict[str, Any] = {"concurrency": workers, "retries": tries - 1} if engine == "openai" else {}
    opened, _ = open_engine(model, engine, base_url, device, dtype, None, progress, **own)
    return opened, engine == "transformers"


def note_messages(engine: Engine, question: str, page: Page, *, relevant: bool, settings: TeacherSettings) -> list[Message]:
    """The prompt for one page.

    Raises:
        ConfigError: the page lacks what the view needs.
    """
    words = prompt_file("note")
    content: list[dict[str, object]] = []
    if settings.view != "text":
        if page.image is None:
            raise ConfigError(f"{page.source} page {page.number} has no picture: use view 'text'")
        content += [{"type": "text", "text": "The page:\n"}, {"type": "image", "image": page.image}]
    if settings.view != "image":
        text = excerpt(question, page.text or "", settings.page_tokens, engine.count_tokens)
        content.append({"type": "text", "text": f"\nThe text of the page:\n{neutralise(text, engine.reserved)}"})
    task = words["relevant" if relevant else "not relevant"]
    content.append({"type": "text", "text": "\n\n" + task.replace("{question}", neutralise(question, engine.reserved))})
    return [_system(words["system"]), {"role": "user", "content": content}]


def refine_messages(engine: Engine, question: str, notes: Sequence[str], relevant: Sequence[int]) -> list[Message]:
    """The prompt that rewrites the notes of a list; ``relevant`` are zero-based positions."""
    words = prompt_file("refine")
    lines = "\n".join(f"Image {i}: {neutralise(fold(note), engine.reserved)}" for i, note in enumerate(notes, start=1))
    named = ", ".join(f"Image {i + 1}" for i in relevant) or "none"
    task = words["task"].replace("{n}", str(len(notes))).replace("{relevant}", named).replace("{notes}", lines)
    task = task.replace("{question}", neutralise(question, engine.reserved))
    return [_system(words["system"]), {"role": "user", "content": [{"type": "text", "text": task}]}]


def write_note(engine: Engine, question: str, page: Page, *, relevant: bool, settings: TeacherSettings) -> Written:
    """Ask for the note on one page until it fits its label, at most ``settings.asks`` times.

    Raises:
        EngineError: the backend failed for good.
        ContextLengthError: the page does not fit.
    """
    messages = note_messages(engine, question, page, relevant=relevant, settings=settings)

    def read(reply: Reply) -> tuple[tuple[str, ...], str | None]:
        note = clean_note(reply.text)
        problem = "it was cut off" if reply.finish == "length" else problem_with(note, relevant, question)
        return (note,), problem

    return _ask(engine, messages, read, "note", settings.note_tokens, settings)


def refine_notes(
    engine: Engine,
    question: str,
    notes: Sequence[str],
    relevant: Sequence[int],
    *,
    settings: TeacherSettings,
) -> Written:
    """Ask for the notes of a list, rewritten together, until each of them is there and fits its label.

    Raises:
        EngineError: the backend failed for good.
        ContextLengthError: the notes do not fit.
    """
    n = len(notes)
    messages = refine_messages(engine, question, notes, relevant)

    def read(reply: Reply) -> tuple[tuple[str, ...], str | None]:
        found = parse(f"<think>\n{reply.text}\n</think>", n).notes
        missing = [str(i) for i, note in enumerate(found, start=1) if note is None]
        if missing:
            return (), f"there is no line for Image {', '.join(missing)}"
        written = tuple(clean_note(note or "") for note in found)
        problems = (problem_with(note, i in relevant, question) for i, note in enumerate(written))
        problem = next((f"Image {i}: {p}" for i, p in enumerate(problems, start=1) if p is not None), None)
        return written, "they were cut off" if reply.finish == "length" else problem

    return _ask(engine, messages, read, "refine", settings.note_tokens * n, settings)


def clean_note(text: str) -> str:
    """A reply as one line: a label, a verdict, list marks and quotes around it are dropped."""
    note = _LABEL.sub("", fold(text).lstrip("-*• "))
    note = _VERDICT.sub("", note) or note
    if len(note) > 1 and note[0] in "\"“'" and note[-1] in "\"”'":
        note = note[1:-1]
    return note.strip()


def failure_kind(error: Exception) -> str:
    """The kind under which a failure is counted."""
    if isinstance(error, ContextLengthError):
        return "too long"
    if isinstance(error, EngineError):
        return "overload" if error.retryable else "refused"
    return type(error).__name__


def _ask(
    engine: Engine,
    messages: Sequence[Message],
    read: Callable[[Reply], tuple[tuple[str, ...], str | None]],
    name: str,
    max_tokens: int,
    settings: TeacherSettings,
) -> Written:
    usage = Usage()
    chat = list(messages)
    problem: str | None = None
    for ask in range(settings.asks):
        sampling = Sampling(max_tokens, settings.temperature + 0.3 * ask, seed=settings.seed + ask)
        reply = engine.generate([Request(chat)], sampling)[0]
        usage += reply.usage
        notes, problem = read(reply)
        if problem is None:
            return Written(notes, None, ask + 1, usage)
        again = prompt_file(name)["again"].replace("{problem}", problem)
        said = neutralise(reply.text, engine.reserved)
        chat = [*messages, {"role": "assistant", "content": [_text(said)]}, {"role": "user", "content": [_text(again)]}]
    return Written(None, problem, settings.asks, usage)


def _system(text: str) -> Message:
    return {"role": "system", "content": [_text(text)]}


def _text(text: str) -> dict[str, object]:
    return {"type": "text", "text": text}
