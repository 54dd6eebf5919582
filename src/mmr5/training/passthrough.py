"""Prompts reach TRL's trainers as inference renders them.

TRL applies the chat template to whole conversations. Templates of reasoning models rewrite or open ``<think>`` there: a model
would learn the tail of its target, or another context than it is asked in. So a prompt is rendered by
:func:`mmr5.engines.chat_template.render`, the reply is written after it, and while a trainer works, its processor has a template
that writes the words of messages and nothing else.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from mmr5.engines.chat_template import template_of

TEMPLATE = (
    "{% for message in messages %}{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}{% if part['type'] == 'text' %}{{ part['text'] }}{% endif %}{% endfor %}"
    "{% endif %}{% endfor %}"
)
"""Writes what messages say, one after the other; slots of pictures stand in the rendered words already."""


@contextlib.contextmanager
def spoken(processor: Any, template: str | None) -> Iterator[Any]:
    """While this lasts, a processor (and its tokenizer) has the given chat template."""
    holders = [processor, *([processor.tokenizer] if hasattr(processor, "tokenizer") else [])]
    before = [holder.chat_template for holder in holders]
    for holder in holders:
        holder.chat_template = template
    try:
        yield processor
    finally:
        for holder, held in zip(holders, before, strict=True):
            holder.chat_template = held


def take(processor: Any) -> str:
    """Give a processor :data:`TEMPLATE`; the template that it had."""
    held = template_of(processor) or ""
    processor.chat_template = TEMPLATE
    if hasattr(processor, "tokenizer"):
        processor.tokenizer.chat_template = TEMPLATE
    return held
