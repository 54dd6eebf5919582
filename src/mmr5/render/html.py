"""The template environment, and writing a page to disk."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from mmr5.languages import marked
from mmr5.storage.atomic import write_bytes


@lru_cache(maxsize=1)
def environment() -> Environment:
    """The templates of ``mmr5.render``: autoescaped, and strict about names that are missing."""
    made = Environment(
        loader=PackageLoader("mmr5.render"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    made.filters["mark_terms"] = mark_terms
    return made


def mark_terms(text: str, query: str) -> Markup:
    """The text, escaped, with the words that carry the question wrapped in ``<mark>``."""
    parts = [Markup("<mark>{}</mark>").format(piece) if wanted else escape(piece) for piece, wanted in marked(text, query)]
    return Markup("").join(parts)


def write_html(path: str | Path, html: str) -> None:
    """Write a page atomically, in UTF-8; what UTF-8 cannot hold (lone surrogates of a damaged PDF) becomes ``?``.

    Args:
        path: the file, in a folder that exists; an older one is replaced only once the new one is whole.
        html: its content.

    Raises:
        OutputError: it cannot be written.
    """
    write_bytes(Path(path), html.encode("utf-8", errors="replace"), parents=False)
