"""Write docs/cli.md from the command line itself: python scripts/cli_page.py [--check]."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import typer

from mmr5.cli.main import app

PAGE = Path(__file__).parents[1] / "docs" / "cli.md"
HEAD = """# Command line

<!-- Written by scripts/cli_page.py from the commands themselves. Do not edit. -->

stdout is the result; reasoning, progress and warnings go to stderr. Exit codes: 0 ok, 1 failed, 2 wrong usage, 130 interrupted.
`SOURCE` is a PDF, an image, an office document, a text, or a folder of any; `CORPUS` is a folder, `opendocs` or `mmdocir`.
"""


def page() -> str:
    """The whole page as Markdown; it depends on the commands only, not on the terminal."""
    root = typer.main.get_command(app)
    parts = [HEAD]
    for name, command in root.commands.items():  # type: ignore[attr-defined]
        parts += sections(f"mmr5 {name}", command)
    return "\n".join(parts)


def sections(path: str, command: Any) -> list[str]:
    """The sections of a command and of the commands below it."""
    children = getattr(command, "commands", {})
    if children and not getattr(command, "invoke_without_command", False):
        own = [f"## {path}\n", f"{paragraphs(command.help)}\n"]
    else:
        own = [section(path, command, "##" if path.count(" ") == 1 else "###")]
    return own + [part for name, child in children.items() for part in sections(f"{path} {name}", child)]


def section(path: str, command: Any, level: str) -> str:
    """One command: what it does, its usage, its parameters."""
    context = command.make_context(path, [], resilient_parsing=True)
    usage = " ".join([path, *command.collect_usage_pieces(context)])
    rows = [row(parameter.get_help_record(context)) for parameter in command.params if not getattr(parameter, "hidden", False)]
    table = ["| Argument | Meaning |", "|---|---|", *[r for r in rows if r]] if any(rows) else []
    return "\n".join([f"{level} {path}\n", f"{paragraphs(command.help)}\n", f"```\n{usage}\n```\n", *table, ""])


def row(record: tuple[str, str] | None) -> str:
    """A line of the table, or nothing for a parameter that says nothing of itself."""
    if record is None:
        return ""
    names, words = (re.sub(r"\s+", " ", part).strip().replace("|", ", ") for part in record)
    return f"| `{names}` | {words.replace('<', '&lt;')} |"


def paragraphs(text: str | None) -> str:
    """A command's help; lines that are commands are shown as code."""
    found = [re.sub(r"\s+", " ", part).strip() for part in (text or "").split("\n\n")]
    return "\n\n".join(f"`{part}`" if part.startswith("mmr5 ") else part for part in found)


def main() -> None:
    """Write the page, or say whether it is up to date."""
    text = page()
    if "--check" not in sys.argv:
        PAGE.write_text(text, encoding="utf-8")
    elif not PAGE.exists() or PAGE.read_text(encoding="utf-8") != text:
        sys.exit("docs/cli.md is not what the commands say: run python scripts/cli_page.py")


if __name__ == "__main__":
    main()
