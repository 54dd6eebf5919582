"""``mmr5 rerank``: a question and documents → pages in order."""

from __future__ import annotations

import json
import time
from typing import Annotated, Any

import typer

from mmr5.cli import options
from mmr5.cli.console import note, progress_line
from mmr5.cli.flags import flags
from mmr5.render.labels import ISSUES
from mmr5.settings import ModelSettings, ReadingSettings, SearchSettings


@flags
def rerank(
    query: options.Query,
    sources: options.Sources,
    model: ModelSettings,
    search: SearchSettings,
    reading: ReadingSettings,
    top_n: Annotated[int | None, typer.Option(min=1, help="Show only the best pages.")] = None,
    as_json: options.Json = False,
    html: options.Html = None,
    debug: options.Debug = False,
) -> None:
    """Rank the pages of documents by how well they answer a question.

    The first stage picks the candidates; the model reads them and gives the order. For example:

    mmr5 rerank "Which region grew fastest?" report.pdf
    """
    from mmr5.errors import InputError
    from mmr5.models.resolve import check_name
    from mmr5.pages import read_pages
    from mmr5.pipeline import Searcher
    from mmr5.reranker import Reranker
    from mmr5.retrieval import check_retriever

    if not query.strip():
        raise InputError("the question is empty: say what to look for")
    check_retriever(search.retriever)
    if model.engine == "transformers":
        check_name(model.model)
    problems: list[Any] = []
    strict = bool(model.given.get("strict"))
    with progress_line() as progress:
        start = time.perf_counter()
        pages = read_pages(
            sources,
            ocr=reading.ocr,
            picture_pages=reading.picture_pages,
            strict=strict,
            progress=progress,
            on_problem=problems.append,
        )
        read_ms = (time.perf_counter() - start) * 1000
        reranker = Reranker.from_settings(model, progress=progress)
        searcher = Searcher(reranker, search.retriever, candidates=search.candidates, fusion=search.fusion, progress=progress)
        result = searcher.search(query, pages, top_n=top_n).with_reading(problems, read_ms)
    for problem in problems:
        note(f"warning: passed over {problem}")
    for issue in result.issues:
        note(f"warning: {ISSUES[issue]} ({issue.value})")
    if result.reasoning and (debug or not as_json):
        note(f"reasoning:\n{result.reasoning}\n")
    if debug and result.reply:
        note(f"reply:\n{result.reply}\n")
    _print(result, as_json=as_json)
    if html is not None:
        from mmr5.render.result import result_html, write_html

        write_html(html, result_html(result, pages))
        note(f"wrote {html}")


def _print(result: Any, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(result.to_dict(), ensure_ascii=False, indent=2))
        return
    from rich.console import Console

    from mmr5.render.terminal import result_table

    Console().print(result_table(result))
