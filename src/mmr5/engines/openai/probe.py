"""Whether a served model reads what the local engine would: the chat template's fingerprint, and a probe of one token."""

from __future__ import annotations

from pathlib import Path

from mmr5.engines.chat_template import LocalPrompts
from mmr5.engines.openai.engine import OpenAIEngine
from mmr5.engines.protocol import Request, Sampling
from mmr5.errors import MMR5Error
from mmr5.types import ImageSource

PROBE_PIXELS = ((612, 792), (1224, 1584))
"""Sizes of the pictures that are sent: a page as it is, and one that the usual budget of pixels shrinks."""


def describe(folder: str | Path) -> dict[str, str]:
    """What must be equal on both sides: the chat template's fingerprint, the number of special tokens, whether it sees."""
    prompts = LocalPrompts.from_pretrained(folder)
    return {
        "chat template": prompts.template_fingerprint or "none",
        "special tokens": str(len(prompts.reserved)),
        "reads pictures": "yes" if prompts.images else "no",
    }


def probe(folder: str | Path, base_url: str) -> dict[str, str]:
    """Ask a server for one token after a prompt of text, and, where the checkpoint sees, after two pictures.

    Args:
        folder: the served checkpoint; its name on the server is the folder as it is written here.
        base_url: the server's address.

    Returns:
        Kind of prompt → ``"the same N tokens"``, or what went wrong.
    """
    try:
        engine = OpenAIEngine(str(folder), base_url, tokenizer=folder, retries=0)
    except MMR5Error as error:
        return {"server": str(error)}
    found = {"text": _asked(engine, Request([_message([{"type": "text", "text": "Which page says it? éß漢字 <|im_end|>"}])]))}
    if engine.capabilities.images:
        parts: list[dict[str, object]] = [{"type": "image", "image": _picture(size)} for size in PROBE_PIXELS]
        found["pictures"] = _asked(engine, Request([_message([*parts, {"type": "text", "text": "Which page says it?"}])]))
    engine.close()
    return found


def _message(parts: list[dict[str, object]]) -> dict[str, object]:
    return {"role": "user", "content": parts}


def _asked(engine: OpenAIEngine, request: Request) -> str:
    try:
        reply = engine.generate([request], Sampling(1))[0]
    except MMR5Error as error:
        return str(error)
    return f"the same {reply.usage.prompt_tokens} tokens"


def _picture(size: tuple[int, int]) -> ImageSource:
    import io

    from PIL import Image

    from mmr5.pages import ImageBytes

    buffer = io.BytesIO()
    Image.new("RGB", size, "white").save(buffer, "PNG")
    return ImageBytes(buffer.getvalue())
