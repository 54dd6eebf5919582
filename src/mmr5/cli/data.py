"""``mmr5 data``: a corpus → candidate lists → reasoning → training rows, and the proof that they are right."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mmr5.cli import options
from mmr5.cli.console import note, progress_line
from mmr5.cli.flags import Only, flags
from mmr5.errors import CorpusError
from mmr5.settings import EngineName, ModelSettings

if TYPE_CHECKING:
    from mmr5.data.candidates import CandidateList
    from mmr5.data.checks import Fault
    from mmr5.data.rows import Row

app = typer.Typer(help="Make training data: fetch, stats, candidates, reason, rows, check.", no_args_is_help=True)


class FetchedCorpus(StrEnum):
    """What can be fetched."""

    OPENDOCS = "opendocs"
    OPENDOCS_MULTILINGUAL = "opendocs-multilingual"
    OPENDOCS_MORE = "opendocs-more"
    MMDOCIR = "mmdocir"


class Mode(StrEnum):
    """Values of ``--mode``."""

    TRAINING = "training"
    EVALUATION = "evaluation"


class Kind(StrEnum):
    """Values of ``--kind``."""

    LISTWISE = "listwise"
    POINTWISE = "pointwise"
    PASSAGE = "passage"
    GRPO = "grpo"


class ListMethod(StrEnum):
    """Methods of rows over lists."""

    REASON = "reason"
    DIRECT = "direct"
    LOGITS = "logits"
    POINTWISE = "pointwise"


class RowView(StrEnum):
    """How pages enter the prompt of a row."""

    IMAGE = "image"
    TEXT = "text"
    BOTH = "both"


class Allotment(StrEnum):
    """Values of ``--allotment``."""

    PROPORTIONAL = "proportional"
    EQUAL = "equal"


CORPUS_HELP = "A corpus folder, opendocs, mmdocir or an MMDocIR training folder; several by comma."
CorpusOption = Annotated[str, typer.Option("--corpus", help=CORPUS_HELP)]


@app.command()
def fetch(
    corpus: Annotated[FetchedCorpus, typer.Argument(help="Corpus to fetch.", show_default=False)],
    source: Annotated[
        Path | None,
        typer.Option("--from", help="A folder to take the files from: .deb files, unpacked packages, PDFs; MMDocIR's files."),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Where to put them. [default: the cache]")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Packages that are downloaded at the same time.")] = 4,
    debug: options.Debug = False,
) -> None:
    """Bring a corpus to this machine. What is there and right is skipped, so an interrupted fetch goes on.

    opendocs, opendocs-multilingual and opendocs-more take their PDFs from Debian packages (apt-get download), each checked by its
    sha256; where there is no apt-get, get the packages elsewhere and name their folder with --from. mmdocir takes the published
    files from the hub or a folder.
    """
    from mmr5.storage.cache import Cache

    del debug
    with progress_line() as progress:
        if corpus is FetchedCorpus.MMDOCIR:
            from mmr5.corpora.mmdocir import fetch_evaluation

            folder = out or Cache().directory("corpora") / "mmdocir"
            loaded = fetch_evaluation(folder, source=source, progress=progress)
            typer.echo(f"{len(loaded.documents)} documents, {len(loaded.questions)} questions in {folder}")
            return
        from mmr5.corpora.opendocs import fetch_opendocs

        fetched = fetch_opendocs(corpus.value, out=out, source=source, workers=workers, progress=progress)
    fetched.require_all()
    typer.echo(f"{len(fetched.fetched)} documents fetched, {len(fetched.present)} were there, in {fetched.folder}")


@app.command()
def candidates(
    corpus: Annotated[str, typer.Argument(help=CORPUS_HELP)],
    out: Annotated[Path, typer.Option("--out", help="The file of lists to write.", show_default=False)],
    split: Annotated[str | None, typer.Option(help="Split of the corpus. [default: all questions]")] = None,
    mode: Annotated[
        Mode,
        typer.Option(help="training: all relevant pages and the hardest others; evaluation: exactly the first stage's best."),
    ] = Mode.TRAINING,
    retriever: Annotated[str, typer.Option(help="First stage: hybrid, bm25, dense or none.")] = "hybrid",
    fewest: Annotated[int, typer.Option("--min", min=2, help="Fewest pages of a training list.")] = 3,
    most: Annotated[int, typer.Option("--max", min=2, help="Most pages of a training list.")] = 10,
    n: Annotated[int, typer.Option("--candidates", min=1, help="Pages of an evaluation list.")] = 10,
    shuffle: Annotated[bool, typer.Option("--shuffle", help="Put training lists in a random order.")] = False,
    near_misses_first: Annotated[
        bool, typer.Option("--near-misses-first", help="Take annotated near misses before other negatives.")
    ] = False,
    questions: Annotated[
        str, typer.Option(help="Where questions come from, by comma: annotations, heading, caption, index.")
    ] = "annotations",
    seed: options.Seed = 0,
    debug: options.Debug = False,
) -> None:
    """A first stage over each question's document → lists of candidate pages."""
    from mmr5.corpora import load_corpus
    from mmr5.corpora.questions import with_questions
    from mmr5.data.candidates import build_lists, evaluation_list, training_list
    from mmr5.retrieval import open_retriever
    from mmr5.storage.cache import Cache
    from mmr5.storage.jsonl import write_jsonl

    del debug
    wanted = tuple(name.strip() for name in questions.split(",") if name.strip())
    with progress_line() as progress:
        loaded = with_questions(load_corpus(corpus).split(split), wanted, seed=seed, progress=progress)
        make = (
            partial(evaluation_list, n=n)
            if mode is Mode.EVALUATION
            else partial(training_list, sizes=(fewest, most), seed=seed, shuffle=shuffle, near_misses_first=near_misses_first)
        )
        lists = build_lists(loaded, partial(open_retriever, retriever, cache=Cache()), make, progress=progress)
        written = write_jsonl(out, (found.to_dict() for found in lists))
    typer.echo(f"{written} lists in {out}")


@app.command()
@flags
def reason(
    lists: Annotated[Path, typer.Argument(help="The file that mmr5 data candidates wrote.", show_default=False)],
    corpus: CorpusOption,
    out: Annotated[Path, typer.Option("--out", help="The notes file; what is in it is not asked for again.", show_default=False)],
    model: Annotated[ModelSettings, Only("base_url", "device", "dtype")],
    teacher: Annotated[
        str, typer.Option(help="annotations (offline, from what the corpus's annotators wrote), or the name of a model.")
    ] = "annotations",
    engine: Annotated[EngineName, typer.Option(help="What runs the teacher.")] = "openai",
    view: Annotated[RowView, typer.Option(help="How a page is shown to the teacher.")] = RowView.IMAGE,
    refine: Annotated[bool, typer.Option("--refine", help="Rewrite the notes of each list together at the end.")] = False,
    workers: Annotated[int, typer.Option(min=1, help="Requests at the same time.")] = 8,
    tries: Annotated[int, typer.Option(min=1, help="How often a request is sent when the server fails.")] = 6,
    asks: Annotated[int, typer.Option(min=1, help="How often a note is asked for until it fits its label.")] = 3,
    page_tokens: Annotated[int, typer.Option(min=1, help="Most tokens of a page's text.")] = 3000,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first lists.")] = None,
    seed: options.Seed = 0,
    as_json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """A teacher writes one sentence on every page of every list, guided by its label.

    Interrupt or kill it at any moment and run it again: it goes on where it stopped. For example:

    mmr5 data reason lists.jsonl --corpus opendocs --out notes.jsonl --teacher my-model --base-url http://localhost:8000/v1
    """
    from mmr5.corpora import load_corpus
    from mmr5.data.candidates import read_lists
    from mmr5.data.notes import annotate, open_notes
    from mmr5.data.reasoning import reason as write
    from mmr5.data.teacher import TeacherSettings, open_teacher

    del debug
    found = read_lists(lists)[:limit]
    with progress_line() as progress:
        loaded = load_corpus(corpus)
        if teacher == "annotations":
            with open_notes(out) as journal:
                done = annotate(found, loaded, journal, progress=progress)
            _said(
                {"written": dict(done.written), "dropped": dict(done.dropped), "present": done.present},
                f"{sum(done.written.values())} notes written, {done.present} were there, in {out}",
                as_json,
            )
            _left_out(done.dropped)
            return
        opened, alone = open_teacher(teacher, engine, model.base_url, tries, workers, model.device, model.dtype, progress)
        settings = TeacherSettings(
            view=view.value,
            page_tokens=page_tokens,
            refine=refine,
            workers=1 if alone else workers,
            asks=asks,
            seed=seed,
        )
        with open_notes(out) as journal:
            tally = write(found, loaded, opened, journal, settings, progress=progress)
    _said(tally.to_dict(), f"{tally.written} notes written, {tally.present} were there, in {out}", as_json)
    _left_out({"notes that contradict their label": tally.dropped} if tally.dropped else {})
    if tally.failures:
        note(f"error: {sum(tally.failures.values())} requests failed; run the same command again to ask for them")
        raise typer.Exit(1)


@app.command()
def rows(
    lists: Annotated[Path, typer.Argument(help="The file that mmr5 data candidates wrote.", show_default=False)],
    out: Annotated[Path, typer.Option("--out", help="The rows file to write.", show_default=False)],
    notes: Annotated[
        Path | None, typer.Option(help="The file that mmr5 data reason wrote; not needed for grpo, direct and logits.")
    ] = None,
    kind: Annotated[
        Kind, typer.Option(help="What is trained: lists, single pages, passages, or lists by reward.")
    ] = Kind.LISTWISE,
    method: Annotated[ListMethod, typer.Option(help="The prompt of rows over lists; pointwise: grpo alone.")] = ListMethod.REASON,
    view: Annotated[RowView, typer.Option(help="How pages enter the prompt.")] = RowView.IMAGE,
    sample: Annotated[
        int | None, typer.Option(min=1, help="Draw so many rows, balanced over the size of their pages. [default: all]")
    ] = None,
    corpus: Annotated[
        str | None, typer.Option("--corpus", help="Needed for --sample and --kind passage: where the pages are.")
    ] = None,
    bins: Annotated[int, typer.Option(min=1, help="Groups of similar page size that are drawn from.")] = 10,
    allotment: Annotated[Allotment, typer.Option(help="Rows a group gives: its share, or the same number.")] = (
        Allotment.PROPORTIONAL
    ),
    seed: options.Seed = 0,
    debug: options.Debug = False,
) -> None:
    """Candidate lists and notes → rows for supervised training or for reinforcement."""
    from mmr5.data.candidates import read_lists
    from mmr5.data.notes import read_notes
    from mmr5.data.row_building import build_rows
    from mmr5.storage.jsonl import write_jsonl

    del debug
    if sample is not None and corpus is None:
        raise typer.BadParameter("--sample looks at the pages: give --corpus too", param_hint="--sample")
    found = read_lists(lists)
    made, left_out = (
        _passages(found, corpus)
        if kind is Kind.PASSAGE
        else build_rows(
            found,
            kind=kind.value,
            method=method.value,
            view=view.value,
            notes=None if notes is None else read_notes(notes, found),
        )
    )
    if sample is not None and corpus is not None:
        made = _sampled(made, corpus, sample, bins, allotment.value, seed)
    _left_out(left_out)
    if not made:
        reasons = ", ".join(f"{reason}: {count}" for reason, count in left_out.items()) or "there are no lists"
        raise CorpusError(f"no row can be made of {lists} ({reasons}): nothing was written")
    written = write_jsonl(out, (row.to_dict() for row in made))
    typer.echo(f"{written} rows in {out}")


@app.command()
def check(
    files: Annotated[list[Path], typer.Argument(help="Rows files; splits are compared over all of them.", show_default=False)],
    corpus: CorpusOption,
    lists: Annotated[Path | None, typer.Option(help="Also prove these candidate lists, and the rows against them.")] = None,
    notes: Annotated[Path | None, typer.Option(help="Also prove this notes file, and the rows against it.")] = None,
    pages: Annotated[bool, typer.Option(help="Also build every prompt and look at its pages.")] = True,
    against: Annotated[str | None, typer.Option(help="A corpus that is held out: no document or question may be shared.")] = None,
    against_split: Annotated[str | None, typer.Option(help="Of that corpus, only this split.")] = None,
    as_json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Prove every row and count what there is; exits with 1 when a proof fails or splits overlap.

    Each reward of the gold reply is 1 and of an empty reply 0, labels are the corpus's, notes fit their labels, and the pages in
    the prompt are the pages listed. With --lists and --notes rows hold what these hold, and these are the corpus's.
    """
    from mmr5.corpora import load_corpus
    from mmr5.data.candidates import read_lists
    from mmr5.data.checks import check_rows
    from mmr5.data.cross_checks import check_lists, check_notes, check_origin
    from mmr5.data.notes import read_notes
    from mmr5.data.rows import read_rows
    from mmr5.data.summary import held_out_overlap, summarise_rows, summary_text

    del debug
    made = [row for file in files for row in read_rows(file)]
    loaded = load_corpus(corpus)
    with progress_line() as progress:
        faults = check_rows(made, loaded, pages=pages, progress=progress)
    listed = None if lists is None else read_lists(lists)
    if listed is not None:
        faults += _named("list", check_lists(listed, loaded))
    if notes is not None:
        faults += _named("note", check_notes(notes, loaded))
    if notes is not None and listed is None:
        raise typer.BadParameter("notes are joined to rows by their lists: give --lists too", param_hint="--notes")
    faults += check_origin(made, listed, None if notes is None or listed is None else read_notes(notes, listed))
    summary = summarise_rows(made)
    shared = [] if against is None else held_out_overlap(made, loaded, load_corpus(against).split(against_split))
    if as_json:
        shown = [{f.what: f.place, "qid": f.qid, "problem": f.problem} for f in faults]
        typer.echo(json.dumps({"faults": shown, "held_out": shared, **summary.to_dict()}, ensure_ascii=False, indent=2))
    else:
        typer.echo(summary_text(summary))
        typer.echo(f"proofs           {len(made) - len({f.place for f in faults if f.what == 'row'})} of {len(made)} rows hold")
        for fault in faults[:_SHOWN_FAULTS]:
            typer.echo(f"  {fault}")
        if against is not None:
            typer.echo(f"held-out overlap {len(shared)}" + "".join(f"\n  {found}" for found in shared[:_SHOWN_FAULTS]))
    overlap = sum(len(found) for found in summary.overlap.values())
    if faults or overlap or shared or not made:
        note(
            f"error: {len(faults)} faults, {overlap} documents or questions in more than one split, "
            f"{len(shared)} shared with what is held out, {len(made)} rows"
        )
        raise typer.Exit(1)


@app.command()
def stats(
    corpora: Annotated[
        list[str], typer.Argument(help="Corpora by name, or their folders; counted together.", show_default=False)
    ],
    pages: Annotated[bool, typer.Option(help="Also compare the texts of pages across splits.")] = True,
    as_json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Count what corpora hold; exits with 1 when questions or pages of two splits are nearly the same."""
    from mmr5.corpora import load_corpus
    from mmr5.data.statistics import statistics

    del debug
    with progress_line() as progress:
        found = statistics([load_corpus(name, ocr="never") for name in corpora], pages=pages, progress=progress)
    typer.echo(json.dumps(found.to_dict(), ensure_ascii=False, indent=2) if as_json else found.to_text())
    if alike := sum(len(pairs) for pairs in found.alike.values()):
        note(f"error: {alike} questions or pages stand in two splits")
        raise typer.Exit(1)


_SHOWN_FAULTS = 20


def _named(what: str, faults: list[Fault]) -> list[Fault]:
    return [replace(fault, what=what) for fault in faults]


def _passages(found: list[CandidateList], corpus: str | None) -> tuple[list[Row], Counter[str]]:
    from mmr5.corpora import load_corpus
    from mmr5.data.passages import build_passage_rows

    if corpus is None:
        raise typer.BadParameter("passages are cut from the pages: give --corpus too", param_hint="--kind passage")
    with progress_line() as progress:
        made, left_out = build_passage_rows(found, load_corpus(corpus), progress=progress)
    return [*made], left_out


def _sampled(made: list[Row], corpus: str, n: int, bins: int, allotment: Any, seed: int) -> list[Row]:
    from mmr5.corpora import load_corpus
    from mmr5.data.sampling import balanced_sample
    from mmr5.data.summary import mean_pixels

    with progress_line() as progress:
        sizes = mean_pixels(made, load_corpus(corpus), progress=progress)
    return [made[i] for i in balanced_sample(sizes, n, bins=bins, allotment=allotment, seed=seed)]


def _said(record: Mapping[str, Any], line: str, as_json: bool) -> None:
    typer.echo(json.dumps(record, ensure_ascii=False, indent=2) if as_json else line)


def _left_out(reasons: Mapping[str, int]) -> None:
    for reason, count in reasons.items():
        note(f"left out: {count} x {reason}")
