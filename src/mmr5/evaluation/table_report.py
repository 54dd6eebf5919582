"""A table as Markdown: what was measured here, beside what was published."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mmr5.evaluation.report import few_documents, row, with_interval
from mmr5.evaluation.statistics import FEW_DOCUMENTS

METRICS = ("recall@1", "recall@3", "recall@5")
NOTHING = "–"


def table_markdown(table: Mapping[str, Any]) -> str:
    """The table.

    Args:
        table: the content of ``table.json``.
    """
    where = f"{table['corpus']} {table['split'] or ''}".strip()
    asked = f"{table['n_questions']} questions on {table['n_documents']} documents"
    short = f", the first {table['limit']} questions only" if table["limit"] else ""
    out = [
        f"# {table['title']}",
        "",
        f"Measured on {where}: {asked}{short}; {table['candidates']} candidates. Recall@1, 3, 5.",
        "Gain: of macro Recall@1 over the first stage alone, with its 95 % interval by paired bootstrap over documents.",
    ]
    if table["corpus"] != table["published_for"]:
        out += [
            "",
            f"**The published numbers are for {table['published_for']}: they are not comparable with those measured here.**",
        ]
    if table["source"]:
        out += ["", f"Published: {table['source']}"]
    if table["n_documents"] < FEW_DOCUMENTS:
        out += ["", few_documents(table["n_documents"])]
    head = ["", "first stage", "macro", "published macro", "micro", "published micro", "gain", ""]
    out += ["", row(head), row(["---"] * len(head))]
    notes: list[str] = []
    for line in table["rows"]:
        out.append(row(_cells(line, notes)))
    if notes:
        out += ["", "Not measured:", "", *(f"{number}. {text}" for number, text in enumerate(notes, start=1))]
    if table["command"]:
        out += ["", f"    {table['command']}"]
    return "\n".join(out) + "\n"


def _cells(line: Mapping[str, Any], notes: list[str]) -> list[str]:
    scores, published = line["scores"], line["published"]
    measured = {
        kind: NOTHING if scores is None else _numbers([scores["reranked"][kind][m] for m in METRICS])
        for kind in ("macro", "micro")
    }
    said = {kind: NOTHING if published[kind] is None else _numbers(published[kind]) for kind in ("macro", "micro")}
    note = ""
    if scores is None:
        if line["reason"] not in notes:
            notes.append(line["reason"])
        note = f"({notes.index(line['reason']) + 1})"
    return [
        line["name"],
        line["retriever"],
        measured["macro"],
        said["macro"],
        measured["micro"],
        said["micro"],
        _gain(line),
        note,
    ]


def _gain(line: Mapping[str, Any]) -> str:
    scores = line["scores"]
    if scores is None or line["model"] == "none":
        return ""
    return with_interval(scores["delta"]["macro"]["recall@1"], scores["ci95"]["macro"]["recall@1"])


def _numbers(values: Sequence[float]) -> str:
    return " ".join(f"{value:.4f}".removeprefix("0") for value in values)
