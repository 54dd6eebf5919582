"""Keep some documents of a rows file apart, so that weights can be chosen on questions that training has not seen.

    python scripts/mini_rows.py ROWS --held 12 --seed 7 --out runs/mini

Writes the rows of the other documents under the file's own name into the folder, and the held-out documents' names, one a line,
to ``held.txt``.
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path


def main() -> None:
    """Split one rows file by document."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", type=Path)
    parser.add_argument("--held", type=int, default=12, help="documents that are kept apart")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    lines = given.rows.read_text(encoding="utf-8").splitlines(keepends=True)
    documents = [json.loads(line)["doc_name"] for line in lines]
    names = sorted(set(documents))
    random.Random(given.seed).shuffle(names)
    held = set(names[: given.held])
    given.out.mkdir(parents=True, exist_ok=True)
    kept = [line for line, name in zip(lines, documents, strict=True) if name not in held]
    (given.out / given.rows.name).write_text("".join(kept), encoding="utf-8")
    (given.out / "held.txt").write_text("".join(f"{name}\n" for name in sorted(held)), encoding="utf-8")
    print(f"{len(kept)} of {len(lines)} rows kept; {len(held)} documents held out")


if __name__ == "__main__":
    main()
