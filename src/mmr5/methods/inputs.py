"""Candidates → what a prompt takes: pictures and excerpts within the model's context."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from mmr5.engines.protocol import Engine, Request, require
from mmr5.errors import ConfigError, ContextLengthError
from mmr5.excerpts import excerpt
from mmr5.settings import MethodSettings
from mmr5.types import Candidates, ImageSource, Page, View

PAGE_TOKENS_CAP = 1024
"""Most tokens of one page's text when the budget is derived: what stands beyond rarely changes the order."""
PAGE_TOKENS_FLOOR = 48
"""A window shrinks before a page's text falls below this."""
CONTEXT_SLACK = 32


def check(engine: Engine, settings: MethodSettings, method: str) -> None:
    """Refuse a view that the engine cannot see, and tokens that it cannot prune."""
    if settings.view != "text":
        require(engine, "images", f"view {settings.view!r} (method {method!r})")
    if settings.keep < 1:
        if settings.view == "text":
            raise ConfigError(f"keep is {settings.keep} with view 'text': it chooses among the tokens of pictures; leave it out")
        require(engine, "keep", f"keep {settings.keep}")


def reserved(engine: Engine, settings: MethodSettings) -> tuple[str, ...]:
    """Strings with a meaning of their own to the model: its tokenizer's, and those that its recipe names."""
    return (*engine.reserved, *settings.reserved)


def images(pages: Sequence[Page], view: View) -> list[ImageSource] | None:
    """The pictures of the pages, or None for the text view.

    Raises:
        ConfigError: a page has none.
    """
    if view == "text":
        return None
    found = []
    for page in pages:
        if page.image is None:
            raise ConfigError(
                f"view {view!r} needs a picture of every page, and {page.source} page {page.number} has none: use view 'text'"
            )
        found.append(page.image)
    return found


def texts(query: str, pages: Sequence[Page], view: View, budget: int, engine: Engine) -> list[str] | None:
    """The excerpt of each page for a question, or None for the image view.

    Raises:
        ConfigError: nobody has read the text of a page.
    """
    if view == "image":
        return None
    found = []
    for page in pages:
        if page.text is None and view == "text":
            raise ConfigError(
                f"view 'text' needs the text of every page, and {page.source} page {page.number} has none: use view 'image'"
            )
        found.append(excerpt(query, page.text or "", budget, engine.count_tokens))
    return found


def is_whole(page: Page, texts: Sequence[str] | None) -> bool:
    """Whether a page enters the prompt the same way for every question: as a picture, or with all of its words."""
    return texts is None or "".join(texts[0].split()) == "".join((page.text or "").split())


def single_budget(engine: Engine, settings: MethodSettings, overhead: int) -> int:
    """Tokens of text for a page that stands alone in its prompt.

    Args:
        engine: knows the context.
        settings: may fix the budget.
        overhead: tokens of everything else: the prompt's words, the question, the reply.
    """
    context = engine.capabilities.context_tokens
    room = PAGE_TOKENS_CAP if context is None else context - overhead - CONTEXT_SLACK
    if room < 1:
        raise ContextLengthError(
            f"the question and the prompt need {overhead} tokens, and {engine.model} reads {context}: shorten the question"
        )
    return min(room, settings.page_tokens or PAGE_TOKENS_CAP)


def window_budget(engine: Engine, settings: MethodSettings, overhead: int, n: int) -> tuple[int, int]:
    """Pages in a window, and tokens of text for each of them.

    The text budget is an equal share of what the model's context leaves beside the prompt's words and the reply; when it would
    fall below ``PAGE_TOKENS_FLOOR`` the window shrinks instead.

    Args:
        engine: knows the context.
        settings: window, reply length, and perhaps a fixed budget.
        overhead: tokens of the prompt without the pages.
        n: number of candidates.

    Returns:
        ``(window, page_tokens)``; for the image view the budget is unused.

    Raises:
        ContextLengthError: not even two pages fit.
    """
    window = min(settings.window, max(n, 2))
    wanted = settings.page_tokens or PAGE_TOKENS_CAP
    context = engine.capabilities.context_tokens
    if context is None or settings.view == "image":
        return window, wanted
    label = 8
    room = context - overhead - settings.max_new_tokens - CONTEXT_SLACK
    floor = min(wanted, PAGE_TOKENS_FLOOR) + label
    if room < 2 * floor:
        raise ContextLengthError(
            f"{engine.model} reads {context} tokens; the prompt's words take {overhead} and "
            f"the reply up to {settings.max_new_tokens}, "
            "which leaves too little for two pages: lower max_new_tokens or shorten the question"
        )
    window = min(window, room // floor)
    return window, min(wanted, room // window - label)


def fit(settings: MethodSettings, window: int) -> MethodSettings:
    """The settings with a window that may have shrunk, and an overlap that still fits it."""
    return replace(settings, window=window, overlap=min(settings.overlap, window // 2))


def prompt_tokens(engine: Engine, request: Request) -> int:
    """Tokens of a request's words (pictures count nothing)."""
    return sum(engine.count_tokens(p["text"]) for m in request.messages for p in m["content"] if p["type"] == "text")


def with_pages(batch: Sequence[Candidates]) -> list[int]:
    """Positions of the lists that have at least one page."""
    return [i for i, candidates in enumerate(batch) if len(candidates)]
