"""Modules and statements of the package, by room: python scripts/size.py [FOLDER of a package].

A statement is a node ``ast.stmt`` that is no docstring; imports and definitions count.
"""

from __future__ import annotations

import ast
import sys
from collections import Counter
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "src" / "mmr5"


def statements(source: str) -> int:
    """Statements of a module, docstrings left out."""
    nodes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.stmt)]
    return sum(
        not (isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant) and isinstance(n.value.value, str)) for n in nodes
    )


def main() -> None:
    """Print a line a room, and the sum."""
    package = Path(sys.argv[1]) if len(sys.argv) > 1 else PACKAGE
    modules: Counter[str] = Counter()
    counts: Counter[str] = Counter()
    for file in sorted(package.rglob("*.py")):
        parts = file.relative_to(package).parts
        room = parts[0] + "/" if len(parts) > 1 else "."
        modules[room] += 1
        counts[room] += statements(file.read_text(encoding="utf-8"))
    for room in sorted(modules):
        print(f"{room:16}{modules[room]:5} modules {counts[room]:7,} statements")
    print(f"{'all':16}{sum(modules.values()):5} modules {sum(counts.values()):7,} statements")


if __name__ == "__main__":
    main()
