"""Commands and names in the documentation exist; the page of the command line is what the commands say."""

import ast
import importlib
import runpy

import pytest

from docs.blocks import PAGES, ROOT, blocks, commands, complaint


def test_the_checker_can_fail():
    assert complaint(["rerank", "q", "a.pdf", "--top-n", "3"]) is None
    assert "frobnicate" in complaint(["frobnicate"])
    assert "--smell" in complaint(["rerank", "q", "--smell=1"])
    assert "burn" in complaint(["cache", "burn"])


def test_every_command_in_the_documentation_is_one():
    pages = [page for page in PAGES if page.name != "cli.md"]  # usage lines, not commands
    shown = [
        (block.where, words) for block in blocks("sh", "console", "bash", "shell", "", pages=pages) for words in commands(block)
    ]
    assert len(shown) > 10
    wrong = [f"{where}: {complaint(words)}" for where, words in shown if complaint(words)]
    assert not wrong, "\n".join(wrong)


def test_make_targets_in_the_documentation_exist():
    targets = {line.split(":")[0] for line in (ROOT / "Makefile").read_text().splitlines() if line[:1].isalpha() and ":" in line}
    shown = [(b.where, line.split()[1]) for b in blocks("sh", "") for line in b.text.splitlines() if line.startswith("make ")]
    assert shown
    assert [item for item in shown if item[1] not in targets] == []


@pytest.mark.parametrize("block", blocks("python"), ids=lambda b: b.where)
def test_python_in_the_documentation_parses_and_imports_what_exists(block):
    for node in ast.walk(ast.parse(block.text)):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "mmr5":
            module = importlib.import_module(node.module)
            for name in node.names:
                assert hasattr(module, name.name), f"{block.where}: {node.module} has no {name.name}"


def test_the_page_of_the_command_line_is_what_the_commands_say():
    page = runpy.run_path(str(ROOT / "scripts" / "cli_page.py"))["page"]()
    assert (ROOT / "docs" / "cli.md").read_text(encoding="utf-8") == page, "run: python scripts/cli_page.py"


def test_all_pages_are_looked_at():
    assert {"README.md", "quickstart.md", "cli.md", "index.md"} <= {page.name for page in PAGES}
