"""The fenced blocks of our Markdown, and the commands in them."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

import typer

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "examples" / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    page: Path
    line: int
    kind: str
    text: str

    @property
    def where(self):
        return f"{self.page.relative_to(ROOT).as_posix()}:{self.line}"


def blocks(*kinds, pages=None):
    found = []
    for page in PAGES if pages is None else pages:
        text = page.read_text(encoding="utf-8")
        found += [Block(page, text[: m.start()].count("\n") + 1, m[1], m[2]) for m in _BLOCK.finditer(text) if m[1] in kinds]
    return found


def commands(block):
    """The `mmr5 …` commands of a block, as lists of words; environment, comments, pipes and prompts left out."""
    joined = block.text.replace("\\\n", " ")
    for line in joined.splitlines():
        line = line.removeprefix("$ ").strip()
        if re.match(r"(\w+=\S+ )*mmr5 ", line):
            words = shlex.split(line, comments=True)
            words = words[words.index("mmr5") + 1 :]
            stop = next((i for i, word in enumerate(words) if word in {"|", ">", "&&", "&", ";", "2>"}), len(words))
            yield words[:stop]


def complaint(words):
    """What is wrong with a command's verb and flags, or None. Values are not judged."""
    from mmr5.cli.main import app

    command, path = typer.main.get_command(app), "mmr5"
    words = list(words)
    while getattr(command, "commands", None) and words and not words[0].startswith("-"):
        if words[0] not in command.commands:
            return f"{path} has no {words[0]!r}"
        path += f" {words[0]}"
        command = command.commands[words.pop(0)]
    flags = {name for p in command.params for name in (*p.opts, *p.secondary_opts)} | {"--help"}
    unknown = [word.split("=")[0] for word in words if re.match(r"--?[a-zA-Z]", word) and word.split("=")[0] not in flags]
    return f"{path} has no {', '.join(unknown)}" if unknown else None
