"""The seam between methods and backends: requests in, replies or scores out.

An engine says what it can (:class:`Capabilities`); a method asks for a capability, and the error names the engines that
have it. ``tests/engines/test_contract.py`` runs one contract over every engine.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from mmr5.errors import CapabilityError
from mmr5.evidence_features import Matches
from mmr5.types import ImageSource, Message, Usage

OnText = Callable[[int, str], None]
"""Called as ``on_text(position, text)`` while replies are written: ``text`` is what the reply to the request at ``position`` has
gained since the last call. Calls come from whichever thread writes, one at a time; joined in order, the texts of a position are
its reply's text. It should return at once, and must not call the engine; what it raises ends the call of ``generate``."""

CAPABILITY_ENGINES = {
    "generate": ("transformers", "openai", "vllm", "scripted"),
    "score_choices": ("transformers", "vllm", "scripted"),
    "score_text": ("transformers", "vllm", "scripted"),
    "score_pairs": ("cross-encoder",),
    "score_tokens": ("transformers with a late-interaction model, such as mini",),
    "prefill": ("transformers", "vllm", "scripted", "openai with the served checkpoint's tokenizer"),
    "constrain": ("transformers",),
    "keep": ("transformers with a checkpoint of Qwen2-VL or Qwen2.5-VL",),
    "images": (
        "transformers or vllm with a vision-language checkpoint",
        "openai with a served vision-language model",
        "scripted",
    ),
}


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What an engine can do.

    Attributes:
        generate: write a reply.
        score_choices: log-probabilities of given continuations.
        score_text: log-likelihood of a given text.
        prefill: go on from an opening of the assistant's turn.
        images: read images in the messages.
        context_tokens: most tokens of prompt and reply together, or None when unknown.
        score_pairs: score a question with a page, as a cross-encoder does.
        score_tokens: match the tokens of a question and of a page, as a late-interaction model does.
        constrain: write answers in which only unused ids are possible.
        keep: read a share of each picture's tokens.
        remote: each request is a call of its own, so that lists can be ranked side by side and fail one by one.
    """

    generate: bool = True
    score_choices: bool = False
    score_text: bool = False
    prefill: bool = False
    images: bool = False
    context_tokens: int | None = None
    score_pairs: bool = False
    score_tokens: bool = False
    constrain: bool = False
    keep: bool = False
    remote: bool = False


@dataclass(frozen=True, slots=True)
class Request:
    """One prompt.

    Attributes:
        messages: the chat so far; the assistant speaks next.
        prefill: the opening of the assistant's turn, already written; the reply goes on from there.
        measured: words of the prompt (their last occurrence in it) whose log-likelihood :meth:`Engine.score_choices` gives in the
            same pass; ``""`` for none.
        shared: how many of the last message's first parts (with all that stands before them) other prompts are likely to share,
            such as a page that is asked about again; an engine may keep their states. 0 for none.
        answer_ids: an answer in the reply must name each id from 1 to this number once (:class:`mmr5.answer.Answering`); 0 leaves
            the reply free. It needs the capability ``constrain``.
        keep: share in (0, 1] of each picture's tokens that is read: those that ``question`` looks at most, at their own positions
            (:mod:`mmr5.engines.runtime.pruning`). Below 1 it needs the capability ``keep``.
        question: the question's words as the prompt has them; needed where ``keep`` is below 1, and what a dry run goes by.
        page: text of the one page of a prompt, as it stands there; ``""`` for a picture alone, or for many pages.
        n_pages: how many pages the reply is to put in order; 0 where it is to do something else.
        think: whether such a reply is to reason first.
    """

    messages: Sequence[Message]
    prefill: str = ""
    measured: str = ""
    shared: int = 0
    answer_ids: int = 0
    keep: float = 1.0
    question: str = ""
    page: str = ""
    n_pages: int = 0
    think: bool = False


@dataclass(frozen=True, slots=True)
class Sampling:
    """How a reply is written.

    Attributes:
        max_new_tokens: most tokens to write.
        temperature: 0 is greedy.
        top_p: nucleus mass in (0, 1].
        seed: of the sampling; the same seed gives the same replies on the same machine.
        stop: the reply ends right after the first of these strings, which it keeps.
    """

    max_new_tokens: int = 1024
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    stop: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Reply:
    """What the model wrote after the prefill (the prefill itself is not repeated).

    Attributes:
        text: the new text, special tokens dropped.
        finish: ``"stop"`` when the model ended by itself or at a stop string, ``"length"`` at the token limit.
        usage: tokens read and written.
    """

    text: str
    finish: Literal["stop", "length"] = "stop"
    usage: Usage = Usage()


@dataclass(frozen=True, slots=True)
class TextScore:
    """How likely a text is after a prompt.

    Attributes:
        mean_logprob: mean natural log-probability per token of the text.
        n_tokens: tokens of the text, at least 1.
    """

    mean_logprob: float
    n_tokens: int
    usage: Usage = Usage()


@dataclass(frozen=True, slots=True)
class ChoiceScores:
    """How likely each choice is as the next thing written, when only the choices may be written.

    Attributes:
        logprobs: one natural log-probability a choice; their exponentials sum to 1.
        measured: how likely the request's ``measured`` words are where they stand, or None when it names none.
    """

    logprobs: tuple[float, ...]
    usage: Usage = Usage()
    measured: TextScore | None = None


@runtime_checkable
class Engine(Protocol):
    """What turns messages into replies or scores."""

    @property
    def name(self) -> str:
        """The backend, e.g. ``"transformers"``."""

    @property
    def model(self) -> str:
        """The model's name, as shown in results."""

    @property
    def capabilities(self) -> Capabilities:
        """What this engine can do."""

    @property
    def reserved(self) -> tuple[str, ...]:
        """Strings with a meaning of their own to this model (its special tokens), to be neutralised in page text."""

    def count_tokens(self, text: str) -> int:
        """Tokens of ``text`` alone; an estimate where the backend's tokenizer is out of reach."""

    def generate(self, requests: Sequence[Request], sampling: Sampling, on_text: OnText | None = None) -> list[Reply]:
        """One reply a request, in order.

        Args:
            requests: the prompts.
            sampling: how each reply is written.
            on_text: told of text while it is written; an engine that cannot tell it earlier calls it once a reply.

        Raises:
            EngineError: the backend failed.
            ContextLengthError: a prompt does not fit.
        """

    def score_choices(self, requests: Sequence[Request], choices: Sequence[Sequence[str]]) -> list[ChoiceScores]:
        """For each request, score its own list of choices (distinct, none a prefix of another in tokens)."""

    def score_text(self, requests: Sequence[Request], texts: Sequence[str]) -> list[TextScore]:
        """For each request, score its own text as what the assistant says next."""


Document = tuple[str | None, ImageSource | None]
"""A page's text and picture as a cross-encoder is given them; None for what the view leaves out."""


class PairScorer(Protocol):
    """What an engine with ``score_pairs`` has besides."""

    def score_pairs(self, queries: Sequence[str], documents: Sequence[Document]) -> list[float]:
        """One score for each question with its own document; higher is more relevant.

        Raises:
            EngineError: the backend failed.
        """


@dataclass(frozen=True, slots=True)
class LateScore:
    """What a late-interaction model makes of a question's N pages.

    Attributes:
        log_odds: one a page; higher is more relevant, beside the first stage.
        usage: tokens read.
    """

    log_odds: tuple[float, ...]
    usage: Usage = Usage()


class LateScorer(Protocol):
    """What an engine with ``score_tokens`` has besides."""

    def score_tokens(
        self, queries: Sequence[str], pages: Sequence[Sequence[str]], on_done: Callable[[int], None] | None = None
    ) -> list[LateScore]:
        """Scores of the texts of each question's own pages.

        Raises:
            EngineError: the backend failed.
        """

    def matches(self, query: str, texts: Sequence[str]) -> list[Matches | None]:
        """How the tokens of a question meet those of each page; None where either has no tokens.

        Raises:
            EngineError: the backend failed.
        """


def require(engine: Engine, capability: str, purpose: str) -> None:
    """Refuse early, and say who could do it.

    Args:
        engine: the engine in use.
        capability: a field of :class:`Capabilities`.
        purpose: what asks for it, e.g. ``"method 'logits'"``.

    Raises:
        CapabilityError: the engine lacks the capability.
    """
    if not getattr(engine.capabilities, capability):
        able = ", ".join(CAPABILITY_ENGINES[capability])
        raise CapabilityError(
            f"{purpose} needs {capability!r}, which engine {engine.name!r} with model {engine.model!r} does not have. "
            f"Engines that have it: {able}."
        )


def check_requests(engine: Engine, requests: Sequence[Request]) -> None:
    """Refuse requests that ask for what an engine cannot do.

    Raises:
        CapabilityError: an answer is to be constrained, or pictures are to be pruned, and the engine cannot.
    """
    if any(r.answer_ids for r in requests):
        require(engine, "constrain", "a constrained answer")
    if any(r.keep < 1 for r in requests):
        require(engine, "keep", "keep, a share of each picture's tokens,")
