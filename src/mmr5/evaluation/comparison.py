"""Two runs of the same questions: the paired difference, and the questions that were won and lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mmr5.corpora import load_corpus
from mmr5.errors import ConfigError
from mmr5.evaluation.answerability import answerability, evidence_scores
from mmr5.evaluation.browser import BUDGET, Pages, Shown, browser_data, place_of_first, ranked_order, shown
from mmr5.evaluation.granularity import units_of
from mmr5.evaluation.plots import bars, dumbbells, forest, grid
from mmr5.evaluation.provenance import read_provenance
from mmr5.evaluation.report import BREAKDOWNS, few_documents, row, signals_markdown, with_interval
from mmr5.evaluation.runs import RunLine, read_run
from mmr5.evaluation.statistics import (
    FEW_DOCUMENTS,
    KINDS,
    RESAMPLES,
    averages,
    breakdown,
    gold_position,
    intervals,
    language_group,
    metric_names,
    question_scores,
)
from mmr5.render.html import environment
from mmr5.storage.cache import Cache
from mmr5.types import Page, Progress

_NAMED = 10
"""Questions that are named on either side in the text."""


@dataclass(frozen=True, slots=True)
class Pairing:
    """The questions that two runs share.

    Attributes:
        a: the one run's lines.
        b: the other's, in the same order.
        facts_a: provenance of the one.
        facts_b: provenance of the other.
        only_a: questions that the other run lacks.
        only_b: questions that the one run lacks.
    """

    a: tuple[RunLine, ...]
    b: tuple[RunLine, ...]
    facts_a: Mapping[str, Any]
    facts_b: Mapping[str, Any]
    only_a: int = 0
    only_b: int = 0

    @property
    def names(self) -> tuple[str, str]:
        """The runs' names: first stage + model, and what tells them apart where those are equal."""
        first, second = self.facts_a["config"], self.facts_b["config"]
        pairs = [f"{config['retriever']} + {config['model']}" for config in (first, second)]
        if pairs[0] == pairs[1]:
            differ = [key for key in self.differences if key not in ("settings", "corpus", "limit")]
            for i, config in enumerate((first, second)):
                pairs[i] += f" ({', '.join(f'{key} {config.get(key)}' for key in differ)})" if differ else f" ({'AB'[i]})"
        return pairs[0], pairs[1]

    @property
    def differences(self) -> list[str]:
        """Settings that differ."""
        first, second = self.facts_a["config"], self.facts_b["config"]
        return sorted(key for key in {*first, *second} if first.get(key) != second.get(key))

    @property
    def answerable(self) -> Pairing:
        """The questions that some page answers."""
        kept = [(x, y) for x, y in zip(self.a, self.b, strict=True) if not x.is_unanswerable]
        return replace(self, a=tuple(x for x, _ in kept), b=tuple(y for _, y in kept))

    @property
    def items(self) -> list[Shown]:
        """The questions with both rankings."""
        return [
            shown(y, ranked_order(x), ranked_order(y), question_scores(x, x.ranking)) for x, y in zip(self.a, self.b, strict=True)
        ]


def pair(folder_a: Path, folder_b: Path) -> Pairing:
    """Read two run folders.

    Raises:
        ConfigError: the runs share no question, or they do not agree on what is relevant (another corpus, or another level).
        CorpusError: a run is missing or broken.
    """
    lines_a, lines_b = read_run(folder_a), {x.qid: x for x in read_run(folder_b)}
    both = [x for x in lines_a if x.qid in lines_b]
    if not both:
        raise ConfigError(f"{folder_a} and {folder_b} share no question: give two runs of the same corpus")
    for x in both:
        y = lines_b[x.qid]
        if (x.question, sorted(x.relevant)) != (y.question, sorted(y.relevant)):
            raise ConfigError(
                f"{folder_a} and {folder_b} mean different things by {x.qid!r} ({x.question!r}, relevant {list(x.relevant)}; "
                f"{y.question!r}, relevant {list(y.relevant)}): give two runs of the same corpus and level"
            )
    facts = (read_provenance(folder_a), read_provenance(folder_b))
    return Pairing(tuple(both), tuple(lines_b[x.qid] for x in both), *facts, len(lines_a) - len(both), len(lines_b) - len(both))


def compare(pairing: Pairing, *, seed: int = 0, resamples: int = RESAMPLES) -> dict[str, Any]:
    """The paired difference of two runs, b minus a.

    Args:
        pairing: the runs.
        seed: of the bootstrap over documents.
        resamples: of the bootstrap.

    Returns:
        ``a`` and ``b`` (macro and micro means of every metric), ``delta``, ``ci95``, ``n_questions``, ``n_documents``,
        ``questions`` and ``by_metric`` (how many were won, lost and tied), ``by_domain``, ``by_type``, ``by_language``,
        ``by_gold_count``, ``answerability`` and ``evidence`` (of each run, all its questions),
        ``won`` and ``lost`` (the questions, largest change first), ``differ`` (settings), ``only_a``, ``only_b``, ``warnings``.
    """
    a, b = pairing.a, pairing.b
    signals = [(answerability(lines), evidence_scores(lines)) for lines in (a, b)]
    pairing = pairing.answerable
    a, b = pairing.a, pairing.b
    before = [question_scores(x, x.ranking) for x in a]
    after = [question_scores(x, x.ranking) for x in b]
    domains = pairing.facts_a.get("domains")
    first, second = averages(a, before, domains), averages(b, after, domains)
    names = metric_names(before)
    items = pairing.items
    return {
        "n_questions": len(a),
        "n_documents": len({x.doc_name for x in a}),
        "a": first,
        "b": second,
        "delta": {kind: {name: second[kind][name] - first[kind][name] for name in names} for kind in KINDS},
        "ci95": intervals(a, before, after, domains, seed=seed, resamples=resamples),
        "questions": _outcomes([item.gain for item in items]),
        "by_metric": {n: _outcomes([y[n] - x[n] for x, y in zip(before, after, strict=True)]) for n in names},
        "by_domain": _groups(breakdown(a, before, after, lambda x: x.domain)),
        "by_type": _groups(breakdown(a, before, after, lambda x: x.type or "unknown")),
        "by_language": _groups(breakdown(a, before, after, language_group)),
        "by_gold_count": _groups(breakdown(a, before, after, lambda x: str(len(set(x.relevant))))),
        "by_gold_position": _groups(breakdown(a, before, after, gold_position)),
        "answerability": [told for told, _ in signals],
        "evidence": [shown for _, shown in signals],
        "won": [_named(item) for item in sorted(items, key=lambda item: -item.gain) if item.gain > 0],
        "lost": [_named(item) for item in sorted(items, key=lambda item: item.gain) if item.gain < 0],
        "differ": {
            key: [facts["config"].get(key) for facts in (pairing.facts_a, pairing.facts_b)] for key in pairing.differences
        },
        "only_a": pairing.only_a,
        "only_b": pairing.only_b,
        "warnings": _warnings(pairing),
    }


def _warnings(pairing: Pairing) -> list[str]:
    """What makes a difference mean less than it seems."""
    found = []
    n = len({x.doc_name for x in pairing.a})
    if n < FEW_DOCUMENTS:
        found.append(few_documents(n))
    unequal = sum(sorted(x.candidates) != sorted(y.candidates) for x, y in zip(pairing.a, pairing.b, strict=True))
    if unequal:
        found.append(
            f"The runs had other candidates for {unequal} of {len(pairing.a)} questions: the difference is that of first stage "
            "and model together."
        )
    return found


def comparison_markdown(pairing: Pairing, found: Mapping[str, Any]) -> str:
    """A comparison as Markdown: the table, who won, and the largest changes by name."""
    names = list(found["a"]["micro"])
    a, b = pairing.names
    out = [f"# {b}  against  {a}", "", f"A: {a}. B: {b}. {found['n_questions']} questions on {found['n_documents']} documents."]
    if found["only_a"] or found["only_b"]:
        out.append(f"Left out: {found['only_a']} questions that only A has, {found['only_b']} that only B has.")
    out += ["", row(["", *names]), row(["---"] * (len(names) + 1))]
    for kind in KINDS:
        out += [row([f"{kind} {side.upper()}", *(f"{found[side][kind][n]:.3f}" for n in names)]) for side in ("a", "b")]
        out.append(
            row(
                [
                    f"{kind} B - A",
                    *(with_interval(found["delta"][kind][n], found["ci95"][kind][n]) for n in names),
                ]
            )
        )
    out += [text for warning in found["warnings"] for text in ("", warning)]
    counts = [f"{n}: {c['won']} won, {c['lost']} lost" for n, c in found["by_metric"].items()]
    total = found["questions"]
    out += ["", f"B wins {total['won']}, loses {total['lost']}, ties {total['tied']} questions ({'; '.join(counts)}).", ""]
    for side, told, evidence in zip("AB", found["answerability"], found["evidence"], strict=True):
        out += [text and f"{side}: {text}" for text in signals_markdown({"answerability": told, "evidence": evidence})]
    for title, key in (("Lost by B", "lost"), ("Won by B", "won")):
        if found[key]:
            out.append(f"{title}, largest change first; the place of the first relevant page with A, then with B:")
            out += [
                f"- {x['places'][0] or 'absent'} -> {x['places'][1] or 'absent'}  {x['qid']}  {x['question']}"
                for x in found[key][:_NAMED]
            ]
            if len(found[key]) > _NAMED:
                out.append(f"- and {len(found[key]) - _NAMED} more")
            out.append("")
    return "\n".join(out).rstrip() + "\n"


def comparison_html(
    pairing: Pairing,
    found: Mapping[str, Any],
    pages: Pages | None,
    *,
    cache: Cache | None = None,
    progress: Progress | None = None,
    budget: int = BUDGET,
) -> str:
    """A comparison as one self-contained HTML page that opens at the worst losses.

    Args:
        pairing: the runs.
        found: as :func:`compare` gives it.
        pages: the units of a document, by its name; None leaves pictures out.
        cache: where pictures are kept.
        progress: told of the pictures drawn.
        budget: most bytes of pictures.
    """
    items = pairing.items
    a, b = pairing.names
    return (
        environment()
        .get_template("compare.html")
        .render(
            found=found,
            a=a,
            b=b,
            facts=(pairing.facts_a, pairing.facts_b),
            names=list(found["a"]["micro"]),
            kinds=KINDS,
            plots=_plots([item for item in items if not item.line.is_unanswerable], found),
            before_name="A",
            after_name="B",
            start="loss",
            data=browser_data(items, pages, cache=cache, progress=progress, budget=budget),
        )
    )


def run_pages(facts: Mapping[str, Any], cache: Cache | None = None) -> Pages:
    """Where the pages of a run's corpus come from; pictures are what is wanted, so pages without a text layer stay unread.

    Raises:
        CorpusError: the corpus is not where the run found it.
    """
    config = facts["config"]
    corpus = load_corpus(config["corpus"], cache=cache, ocr="never")
    level = config.get("level", "page")

    def pages(doc_name: str) -> Sequence[Page]:
        return units_of(corpus, corpus.document(doc_name), level).pages

    return pages


def _plots(items: Sequence[Shown], found: Mapping[str, Any]) -> list[tuple[str, str, Any]]:
    names = list(found["a"]["micro"])
    gains = [(f"{kind} {name}", found["delta"][kind][name], found["ci95"][kind][name]) for kind in KINDS for name in names]
    levels = [(name, found["a"]["macro"][name], found["b"]["macro"][name], None) for name in names]
    moves = Counter(tuple(place_of_first(order.ids, item.line.relevant) for order in (item.before, item.after)) for item in items)
    longest = max((len(item.after.ids) for item in items), default=1)
    made: list[tuple[str, str, Any]] = [
        (
            "B minus A",
            "Dots are differences, lines their 95 % intervals by paired bootstrap over documents. "
            "A line that crosses zero decides nothing.",
            forest(gains, "difference of each metric with its interval"),
        ),
        ("Both runs", "Macro averages. Pale: A. Strong: B.", bars(levels, "macro average of each metric of A and B")),
        (
            "Where the first relevant page went",
            "Questions by its place with A and with B. Green cells are won, red ones lost.",
            grid({(x[0], x[1]): n for x, n in moves.items()}, min(longest, 10), "place of the first relevant page with A and B"),
        ),
    ]
    for title, key in BREAKDOWNS[:4]:
        rows = [(name, g["n"], g["a"][names[0]], g["b"][names[0]]) for name, g in found[key].items()]
        how = f"{names[0]}, A (ring) → B (dot); the number of questions beside the name."
        made.append((title, how, dumbbells(rows, f"{names[0]} by {title.lower()}")))
    return made


def _outcomes(gains: Sequence[float]) -> dict[str, int]:
    won, lost = sum(g > 0 for g in gains), sum(g < 0 for g in gains)
    return {"won": won, "lost": lost, "tied": len(gains) - won - lost}


def _groups(groups: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    return {name: {"n": g["n"], "a": g["retriever"], "b": g["reranked"]} for name, g in groups.items()}


def _named(item: Shown) -> dict[str, Any]:
    places = [place_of_first(order.ids, item.line.relevant) for order in (item.before, item.after)]
    return {"qid": item.line.qid, "question": item.line.question, "gain": item.gain, "places": places}
