"""``mmr5 rerank``: a question and documents → pages in order."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from mmr5.cli import options
from mmr5.cli.console import note, progress_line
from mmr5.cli.flags import flags
from mmr5.cli.results import note_reply, print_all, print_one
from mmr5.settings import ModelSettings, ReadingSettings, SearchSettings


@flags
def rerank(
    query: Annotated[str, typer.Argument(help="The question; left out with --questions.", show_default=False)],
    model: ModelSettings,
    search: SearchSettings,
    reading: ReadingSettings,
    sources: options.MoreSources = None,
    questions: options.Questions = None,
    top_n: options.TopN = None,
    min_relevance: options.MinRelevance = None,
    max_context_tokens: options.MaxContextTokens = None,
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
        print_all(asked, found, lambda one: one.with_reading(problems, read_ms), as_json=as_json, named=named)
        return
    note_reply(result, as_json=as_json, debug=debug)
    print_one(result, as_json=as_json, named=named)
    if html is not None:
        from mmr5.render.result import result_html, write_html

        write_html(html, result_html(result, pages, folder=Path(html).parent))
        note(f"wrote {html}")
