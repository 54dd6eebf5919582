"""The template environment, and writing a page to disk."""

from __future__ import annotations

import os
import tempfile
from functools import lru_cache
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from mmr5.errors import OutputError
from mmr5.excerpts import terms


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
    wanted = set(terms(query))
    parts: list[Markup] = []
    for piece in text.split(" "):
        safe = escape(piece)
        parts.append(Markup("<mark>{}</mark>").format(safe) if wanted & set(terms(piece)) else safe)
    return Markup(" ").join(parts)


def write_html(path: str | Path, html: str) -> None:
    """Write a file atomically.

    Raises:
        OutputError: it cannot be written.
    """
    target = Path(path)
    try:
        with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=target.parent, prefix=".mmr5-", delete=False) as file:
            file.write(html)
        mask = os.umask(0)
        os.umask(mask)
        Path(file.name).chmod(0o666 & ~mask)
        Path(file.name).replace(target)
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputError(
            f"cannot write {str(target)!r}: {reason}. Name a file in a folder that exists and that you may write to."
        ) from error
