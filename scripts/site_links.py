"""A hook of mkdocs: links that lead out of docs/ to files of the repository become plain text with the file's path.

On GitHub such a link works; on the site there is no such page. A link to a file that does not exist is left alone, so that the
strict build fails on it.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

_LINK = re.compile(r"\[([^\]]+)\]\((\.\.?/[^)#\s]+)(#[^)\s]*)?\)")


def on_page_markdown(markdown: str, *, page: Any, config: Any, **_: Any) -> str:
    """Rewrite the links of one page.

    Args:
        markdown: the page's source.
        page: mkdocs' page, whose file says where it lies.
        config: mkdocs' configuration, which says where docs/ lies.
    """
    docs = Path(config["docs_dir"]).resolve()
    here = Path(page.file.abs_src_path).parent

    def plain(match: re.Match[str]) -> str:
        target = (here / match[2]).resolve()
        if target.is_relative_to(docs) or not target.exists() or not target.is_relative_to(docs.parent):
            return match[0]
        path = target.relative_to(docs.parent).as_posix()
        return f"`{path}`" if match[1].strip("`") == path else f"{match[1]} (`{path}`)"

    return _LINK.sub(plain, markdown)
