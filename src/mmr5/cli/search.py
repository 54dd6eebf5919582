"""``mmr5 search``: a question → the pages of a stored collection that answer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from mmr5.cli import options
from mmr5.cli.console import note, progress_line
from mmr5.cli.flags import Without, flags
from mmr5.cli.results import note_reply, print_all, print_one
from mmr5.settings import ModelSettings, SearchSettings


@flags
def search(
    model: ModelSettings,
    search: Annotated[SearchSettings, Without("retriever")],
    index: Annotated[str, typer.Option("--index", help="The index, as made by mmr5 index add.", show_default=False)],
    query: Annotated[str | None, typer.Argument(help="The question; left out with --questions.", show_default=False)] = None,
    where: Annotated[
        str | None, typer.Option(help='Only documents and pages for which this holds, e.g. "year >= 2020 and kind = pdf".')
    ] = None,
    retriever: Annotated[str | None, typer.Option(help="First stage. [default: the one that the index was made for]")] = None,
    questions: options.Questions = None,
    top_n: options.TopN = None,
    min_relevance: options.MinRelevance = None,
    max_context_tokens: options.MaxContextTokens = None,
    as_json: options.Json = False,
    html: options.Html = None,
    debug: options.Debug = False,
) -> None:
    """Rank the pages of a stored collection by how well they answer a question.

    It is mmr5 rerank over the pages that are stored. For example:

    mmr5 search "Which region grew fastest?" --index reports.index
    """
    from mmr5.cli.questions import read_questions
    from mmr5.errors import InputError
    from mmr5.models.resolve import check_name
    from mmr5.pipeline import Searcher
    from mmr5.reranker import Reranker
    from mmr5.retrieval.index import Index

    if (query is None) == (questions is None):
        raise typer.BadParameter("give a question, or --questions FILE", param_hint="QUERY")
    if questions is not None and html is not None:
        raise typer.BadParameter("a report is of one question: leave out --html or --questions", param_hint="--html")
    if query is not None and not query.strip():
        raise InputError("the question is empty: say what to look for")
    asked = [{"question": query}] if questions is None else read_questions(questions)
    if model.engine == "transformers":
        check_name(model.model)
    limits: dict[str, Any] = {"where": where, "top_n": top_n, "min_relevance": min_relevance}
    limits["max_context_tokens"] = max_context_tokens
    with progress_line() as progress:
        collection = Index.open(index)
        reranker = Reranker.from_settings(model, progress=progress)
        searcher = Searcher(
            reranker, retriever, candidates=search.candidates, index=collection, fusion=search.fusion, progress=progress
        )
        if query is not None:
            result = _told(searcher.search(query, **limits), collection)
    if query is None:
        found = searcher.search_each([str(record["question"]) for record in asked], **limits)
        print_all(asked, found, lambda one: _told(one, collection), as_json=as_json, named=True)
        return
    for problem in result.problems:
        note(f"warning: {problem}")
    note_reply(result, as_json=as_json, debug=debug)
    print_one(result, as_json=as_json, named=True)
    if html is not None:
        from mmr5.render.result import result_html, write_html

        write_html(html, result_html(result, dict(zip(result.order, result.pages, strict=True)), folder=Path(html).parent))
        note(f"wrote {html}")


def _told(result: Any, index: Any) -> Any:
    """The result with what is to be said of the documents in it."""
    return result.with_reading(index.problems({line.source for line in result}), 0.0)
