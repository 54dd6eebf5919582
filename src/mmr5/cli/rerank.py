"""``mmr5 rerank``: a question and documents → pages in order."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from mmr5.cli import options
from mmr5.cli.console import note, progress_line
from mmr5.cli.flags import flags
from mmr5.render.labels import ISSUES
from mmr5.settings import ModelSettings, ReadingSettings, SearchSettings


@flags
def rerank(
    query: Annotated[str, typer.Argument(help="The question; left out with --questions.", show_default=False)],
    model: ModelSettings,
    search: SearchSettings,
    reading: ReadingSettings,
    sources: options.MoreSources = None,
    questions: Annotated[Path | None, typer.Option(help="A file of questions: one a line, or JSONL with question.")] = None,
    top_n: Annotated[int | None, typer.Option(min=1, help="Show only the best pages.")] = None,
    min_relevance: Annotated[
        float | None, typer.Option(min=0, max=1, help="Leave out pages whose relevance, a probability, is below this.")
    ] = None,
    max_context_tokens: Annotated[
        int | None, typer.Option(min=1, help="Give pages, best first, while their text fits this many tokens of the model.")
    ] = None,
    as_json: options.Json = False,
    html: options.Html = None,
    debug: options.Debug = False,
) -> None:
    """Rank the pages of documents by how well they answer a question.

    The first stage picks the candidates; the model reads them and gives the order. For example:

    mmr5 rerank "Which region grew fastest?" report.pdf
    """
    from mmr5.cli.questions import read_questions
    from mmr5.errors import InputError
    from mmr5.models.resolve import check_name
    from mmr5.pages import read_pages
    from mmr5.pipeline import Searcher
    from mmr5.reranker import Reranker
    from mmr5.retrieval import check_retriever

    documents = [*([] if questions is None else [query]), *(sources or [])]
    if not documents:
        raise typer.BadParameter("name at least one PDF, image, document or folder after the question", param_hint="SOURCES")
    if questions is None and Path(query).exists() and not all(Path(source).exists() for source in documents):
        swapped = " ".join([f'"{documents[-1]}"', query, *documents[:-1]])
        raise typer.BadParameter(f"it is a file, and the question comes first: mmr5 rerank {swapped}", param_hint="QUERY")
    if questions is not None and html is not None:
        raise typer.BadParameter("a report is of one question: leave out --html or --questions", param_hint="--html")
    asked = [{"question": query}] if questions is None else read_questions(questions)
    if questions is None and not query.strip():
        raise InputError("the question is empty: say what to look for")
    check_retriever(search.retriever)
    if model.engine == "transformers":
        check_name(model.model)
    limits: dict[str, Any] = {"top_n": top_n, "min_relevance": min_relevance, "max_context_tokens": max_context_tokens}
    problems: list[Any] = []
    strict = bool(model.given.get("strict"))
    with progress_line() as progress:
        start = time.perf_counter()
        pages = read_pages(
            documents,
            ocr=reading.ocr,
            picture_pages=reading.picture_pages,
            strict=strict,
            progress=progress,
            on_problem=problems.append,
        )
        read_ms = (time.perf_counter() - start) * 1000
        reranker = Reranker.from_settings(model, progress=progress)
        searcher = Searcher(reranker, search.retriever, candidates=search.candidates, fusion=search.fusion, progress=progress)
        if questions is None:
            result = searcher.search(query, pages, **limits).with_reading(problems, read_ms)
    named = len({page.source for page in pages} | {problem.source for problem in problems if problem.page is None}) > 1
    for problem in problems:
        note(f"warning: passed over {problem}")
    if questions is not None:
        found = searcher.search_each([record["question"] for record in asked], pages, **limits)
        _print_all(asked, found, lambda one: one.with_reading(problems, read_ms), as_json=as_json, named=named)
        return
    _note_reply(result, as_json=as_json, debug=debug)
    _print(result, as_json=as_json, named=named)
    if html is not None:
        from mmr5.render.result import result_html, write_html

        write_html(html, result_html(result, pages, folder=Path(html).parent))
        note(f"wrote {html}")


def _print_all(
    asked: Sequence[dict[str, Any]], found: Iterable[Any], finished: Callable[[Any], Any], *, as_json: bool, named: bool
) -> None:
    """Print a result a question as soon as it is there; one that fails says so, and the exit code is 1 at the end.

    Raises:
        typer.Exit: a question failed.
    """
    from mmr5.errors import MMR5Error

    failed = 0
    for number, (record, result) in enumerate(zip(asked, found, strict=True), 1):
        more = {name: value for name, value in record.items() if name != "question"}
        if isinstance(result, MMR5Error):
            failed += 1
            note(f"error: question {number} ({record['question'][:60]!r}): {result}")
            if as_json:
                typer.echo(json.dumps({**more, "query": record["question"], "error": str(result)}, ensure_ascii=False))
        elif as_json:
            typer.echo(json.dumps({**more, **finished(result).to_dict()}, ensure_ascii=False))
        else:
            _note_reply(result, as_json=False, debug=False)
            _print(result, as_json=False, named=named)
    if failed:
        note(f"{failed} of {len(asked)} questions failed")
        raise typer.Exit(1)


def _note_reply(result: Any, *, as_json: bool, debug: bool) -> None:
    for issue in result.issues:
        note(f"warning: {ISSUES[issue]} ({issue.value})")
    if result.reasoning and (debug or not as_json):
        note(f"reasoning:\n{result.reasoning}\n")
    if debug and result.reply:
        note(f"reply:\n{result.reply}\n")


def _print(result: Any, *, as_json: bool, named: bool) -> None:
    if as_json:
        typer.echo(json.dumps(result.to_dict(), ensure_ascii=False, indent=2))
        return
    from rich.console import Console

    from mmr5.render.terminal import result_table

    console = Console()
    console.print(result_table(result, named=named, width=console.width))
