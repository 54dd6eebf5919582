"""Kills ``mmr5 index add`` at random moments, changes the documents meanwhile, and counts what was lost or stored twice.

    python benchmarks/index_kills.py [--kills 50] [--documents 900] [--out results/index-kills.md]

Each round starts the command on a folder of Markdown documents and sends SIGKILL after a random time; every third round rewrites
or removes some of the documents first. After each kill the index is opened: every document in it must be whole, stand once, and
have the words of one of its versions. At the end the command runs to its end, and the index must hold the folder.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from mmr5.retrieval.index import Index
from mmr5.retrieval.index.snapshot import rows_of

PARAGRAPH = "The harbour was dredged in {year} by the dredger number {n}, version {version}, paid with {fee} crowns a day. "


def write(home: Path, number: int, version: int) -> None:
    """A document of two to four pages."""
    lines = [f"# Report {number}\n"]
    for page in range(2 + number % 3):
        lines.append(f"\n## Part {page}\n\n" + PARAGRAPH.format(year=1900 + page, n=number, version=version, fee=page) * 26)
    (home / f"report {number}.md").write_text("".join(lines))


def check(place: Path, versions: dict[int, set[int]]) -> Counter[str]:
    """What is wrong with an index: documents that are not whole, rows that stand twice, words of no version, mixed versions."""
    wrong: Counter[str] = Counter()
    if not (place / "pages.lance").is_dir():
        return wrong
    at = Index.open(place).snapshot()
    found = rows_of(at._table, "page >= 0", ["id", "document", "page", "text"]).to_pylist()
    wrong["twice"] = len(found) - len({row["id"] for row in found})
    pages = Counter(row["document"] for row in found if row["page"])
    texts: dict[str, set[str]] = {}
    for row in found:
        if row["page"]:
            texts.setdefault(row["document"], set()).update(
                word for word in row["text"].replace(",", "").split(" version ")[1].split(" ")[:1]
            )
    for document in at.documents:
        number = int(document.source.removesuffix(".md").split(" ")[-1])
        wrong["not whole"] += pages.pop(document.key, 0) != document.pages
        wrong["mixed"] += len(texts[document.key]) != 1
        wrong["unknown words"] += not {int(one) for one in texts[document.key]} <= versions.get(number, set())
    wrong["pages of no document"] = sum(pages.values())
    return wrong


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--documents", type=int, default=900)
    parser.add_argument("--retriever", default="bm25")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    chance = random.Random(asked.seed)  # noqa: S311
    top = Path(tempfile.mkdtemp(prefix="mmr5-kills-"))
    home, place = top / "docs", top / "docs.index"
    home.mkdir()
    versions: dict[int, set[int]] = {}
    current: dict[int, int] = {}
    for number in range(asked.documents):
        write(home, number, 0)
        versions[number], current[number] = {0}, 0
    command = [
        sys.executable,
        "-m",
        "mmr5.cli.main",
        "index",
        "add",
        str(place),
        str(home),
        "--retriever",
        asked.retriever,
        "--json",
    ]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    kills = early = ended = 0
    total: Counter[str] = Counter()
    stored = []
    span = 8.0
    while kills < asked.kills:
        if kills % 3 == 2:
            for number in chance.sample(sorted(current), 40):
                if chance.random() < 0.2 and len(current) > asked.documents // 2:
                    (home / f"report {number}.md").unlink()
                    del current[number]
                else:
                    current[number] += 1
                    versions[number].add(current[number])
                    write(home, number, current[number])
        running = subprocess.Popen(
            command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        start = time.monotonic()
        wait = chance.uniform(0.8, span)
        while time.monotonic() - start < wait and running.poll() is None:
            time.sleep(0.01)
        if running.poll() is None:
            os.killpg(running.pid, signal.SIGKILL)
            running.wait()
            kills += 1
        else:
            ended += 1
            span = max(2.0, 0.9 * (time.monotonic() - start))
            for number in range(asked.documents):  # everything is stored: give it all anew
                if number in current:
                    current[number] += 1
                    versions[number].add(current[number])
                    write(home, number, current[number])
            continue
        found = check(place, versions)
        total += found
        held = len(Index.open(place).documents()) if (place / "pages.lance").is_dir() else 0
        early += held == 0
        stored.append(held)
        print(f"kill {kills}: after {wait:.2f} s, {held} documents stored, wrong: {dict(+found) or 'nothing'}", flush=True)
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    index = Index.open(place)
    gone = [document.source for document in index.documents() if not Path(str(document.path)).exists()]
    if gone:
        index.remove(gone)
    final = check(place, {number: {version} for number, version in current.items()})
    lost = len(set(current) - {int(d.source.removesuffix(".md").split(" ")[-1]) for d in index.documents()})
    words = {
        "kills": kills,
        "runs that ended before their kill": ended,
        "kills before anything was stored": early,
        "documents that were rewritten": sum(max(v) for v in versions.values()),
        "wrong after a kill": dict(+total) or "nothing",
        "documents lost at the end": lost,
        "wrong at the end": dict(+final) or "nothing",
        "documents at the end": len(current),
        "pages at the end": len(index),
    }
    print(json.dumps(words))
    if asked.out is not None:
        rows = "\n".join(f"| {name} | {value} |" for name, value in words.items())
        asked.out.write_text(
            "# `mmr5 index add`, killed\n\n"
            f"`python benchmarks/index_kills.py --kills {asked.kills} --documents {asked.documents} --seed {asked.seed}`\n\n"
            f"| | |\n|---|---|\n{rows}\n"
        )
    shutil.rmtree(top)


if __name__ == "__main__":
    main()
