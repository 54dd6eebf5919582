"""Scores as a report to read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mmr5.evaluation.statistics import FEW_DOCUMENTS

BREAKDOWNS = (
    ("Domain", "by_domain"),
    ("Evidence", "by_type"),
    ("Language", "by_language"),
    ("Relevant pages", "by_gold_count"),
    ("First relevant page among the candidates", "by_gold_position"),
)
"""Titles and keys of the breakdowns in ``scores.json``."""


def report_markdown(scores: Mapping[str, Any], provenance: Mapping[str, Any]) -> str:
    """The scores as Markdown: the table with intervals, ceilings, breakdowns, replies, time."""
    config = provenance["config"]
    names = list(scores["retriever"]["micro"])
    out = [
        f"# {config['corpus']}{' ' + config['split'] if config.get('split') else ''}: {config['retriever']} + {config['model']}",
        "",
        f"{scores['n_questions']} questions on {scores['n_documents']} documents; method {config['method']}, "
        f"{config['candidates']} candidates, fusion {config['fusion']}. Intervals: 95 %, paired bootstrap over documents.",
        "",
        row(["", *names]),
        row(["---"] * (len(names) + 1)),
    ]
    for kind in ("macro", "micro"):
        out += [
            row([f"{kind} {label}", *(f"{scores[key][kind][n]:.3f}" for n in names)])
            for label, key in (("first stage", "retriever"), ("reranked", "reranked"))
        ]
        gains = (with_interval(scores["delta"][kind][n], scores["ci95"][kind][n]) for n in names)
        out.append(row([f"{kind} gain", *gains]))
        out.append(row([f"{kind} oracle", *(f"{scores['oracle'][kind][n]:.3f}" for n in names)]))
    if scores["n_documents"] < FEW_DOCUMENTS:
        out += ["", few_documents(scores["n_documents"])]
    recall = scores["candidate_recall"]
    out += ["", f"Recall of the candidate lists: macro {recall['macro']:.3f}, micro {recall['micro']:.3f}.", ""]
    several = scores.get("all_within_5")
    if several is not None:
        out += [
            f"All relevant pages among the first five, on the {several['n']} questions with several: "
            f"{several['retriever']:.1%} before, {several['reranked']:.1%} after.",
            "",
        ]
    for title, key in BREAKDOWNS:
        out += _breakdown(title, scores[key])
    out += signals_markdown(scores)
    parse = scores["parse"]
    if parse["n_replies"]:
        issues = ", ".join(f"{n} {v:.1%}" for n, v in parse.items() if n not in ("n_replies", "clean") and v)
        out += [f"Replies: {parse['n_replies']}, clean {parse['clean']:.1%}{'; ' + issues if issues else ''}.", ""]
    times = ", ".join(f"{part} {v['p50']:.0f} / {v['p95']:.0f}" for part, v in scores["latency_ms"].items())
    read, written = (scores["tokens"][name] for name in ("prompt_tokens", "completion_tokens"))
    out += [f"Milliseconds a question, p50 / p95: {times}. Tokens a question: {read:.0f} read, {written:.0f} written.", ""]
    hardware = ", ".join(f"{name} {value}" for name, value in provenance["hardware"].items() if value)
    out += [
        f"mmr5 {provenance['mmr5']}, commit {short_commit(provenance)}, "
        f"prompt {provenance['prompt_fingerprint'] or 'none'}; {hardware}.",
        "",
        f"    {provenance['command']}",
    ]
    return "\n".join(out) + "\n"


def signals_markdown(scores: Mapping[str, Any]) -> list[str]:
    """Whether unanswerable questions are told, and how much of the annotated words is shown, a paragraph each."""
    out = []
    told, shown = scores["answerability"], scores["evidence"]
    if told is not None:
        text = (
            f"Unanswerable questions: {told['n_unanswerable']} beside {told['n_answerable']} answerable ones. AUROC of the "
            f"{'probability that any page answers' if told['of'] == 'probability' else 'top score'} {told['auroc']:.3f}; "
            f"refused where 95 % of the answerable are kept: {told['refused_at_95']:.1%}."
        )
        if told["ece"] is not None:
            text += f" ECE {told['ece']:.3f}, Brier {told['brier']:.3f}, skill {told['brier_skill']:+.3f}."
        out += [text, ""]
        for key in ("by_kind", "by_language"):
            groups = [f"{name} {g['auroc']:.3f} / {g['refused_at_95']:.0%} ({g['n']})" for name, g in told.get(key, {}).items()]
            if len(groups) > 1:
                words = key.replace("_", " ")
                out += [f"AUROC / refused at 95 %, {words} (unanswerable questions): {', '.join(groups)}.", ""]
    if scores.get("relevance") is not None:  # runs of older versions, and comparisons, have none
        parts = (
            f"{name} {q['mean']:.3f} said, {q['share']:.3f} true, ECE {q['ece']:.3f}, Brier skill {q['brier_skill']:+.3f}"
            for name, q in scores["relevance"].items()
        )
        out += [f"Relevance of pages: {'; '.join(parts)}.", ""]
    if shown is not None:
        out += [
            f"Evidence holds the annotated words on {shown['quote_coverage']:.1%} of {shown['n']} relevant pages "
            f"({shown['n_visual']} more show them in a picture only); it has {shown['words_mean']:.0f} words on average, "
            f"95 % have at most {shown['words_p95']:.0f}.",
            "",
        ]
    return out


def with_interval(gain: float, interval: Sequence[float] | None) -> str:
    """A gain with its interval, where there is one: ``"+0.063 [+0.023, +0.099]"``."""
    return f"{gain:+.3f}" + ("" if interval is None else " [{:+.3f}, {:+.3f}]".format(*interval))


def few_documents(n: int) -> str:
    """Why there are no intervals over few documents."""
    return (
        f"Only {n} document{'s were' if n > 1 else ' was'} asked about: below {FEW_DOCUMENTS} no interval is given, and the "
        "difference decides nothing."
    )


def short_commit(provenance: Mapping[str, Any]) -> str:
    """The first twelve digits of the commit, with what follows a plus; ``none`` outside a checkout."""
    head, plus, changes = (provenance.get("commit") or "none").partition("+")
    return f"{head[:12]}{plus}{changes}"


def _breakdown(title: str, groups: Mapping[str, Any]) -> list[str]:
    names = [name for name in ("recall@1", "mrr") if all(name in group["retriever"] for group in groups.values())]
    head = [cell for name in names for cell in (f"{name} before", "after")]
    rows = [row([title, "questions", *head]), row(["---"] * (len(head) + 2))]
    for name, group in groups.items():
        values = (group[when][metric] for metric in names for when in ("retriever", "reranked"))
        rows.append(row([name, str(group["n"]), *(f"{v:.3f}" for v in values)]))
    return [*rows, ""]


def row(cells: Sequence[str]) -> str:
    """One row of a Markdown table."""
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
