"""``mmr5 rerank``: a question and documents → pages in order."""

from __future__ import annotations

import json
import time
from typing import Annotated, Any

import typer

from mmr5.cli import options
from mmr5.cli.console import note, progress_line


def rerank(
    query: options.Query,
    sources: options.Sources,
    model: options.Model = "mini",
    engine: options.EngineOption = options.Engine.TRANSFORMERS,
    base_url: options.BaseUrl = None,
    method: options.MethodOption = options.Method.AUTO,
    view: options.ViewOption = options.View.AUTO,
    retriever: options.Retriever = "hybrid",
    candidates: options.CandidatesOption = None,
    top_n: Annotated[int | None, typer.Option(min=1, help="Show only the best pages.")] = None,
    fusion: options.Fusion = None,
    samples: options.Samples = 1,
    seed: options.Seed = 0,
    think_tokens: options.ThinkTokens = None,
    constrain: options.Constrain = False,
    keep: options.Keep = 1.0,
    device: options.Device = "auto",
    dtype: options.Dtype = "auto",
    ocr: options.OcrOption = options.Ocr.AUTO,
    strict: options.Strict = False,
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
    check_retriever(retriever)
    if engine is options.Engine.TRANSFORMERS:
        check_name(model)
    problems: list[Any] = []
    with progress_line() as progress:
        start = time.perf_counter()
        pages = read_pages(sources, ocr=ocr.value, strict=strict, progress=progress, on_problem=problems.append)
        read_ms = (time.perf_counter() - start) * 1000
        reranker = Reranker.from_pretrained(
            model,
            engine=engine.value,
            base_url=base_url,
            method=method.value,
            view=view.value,
            device=device,
            dtype=dtype,
            progress=progress,
            samples=samples,
            seed=seed,
            think_tokens=think_tokens,
            constrain=constrain,
            keep=keep,
            strict=strict,
        )
        searcher = Searcher(reranker, retriever, candidates=candidates, fusion=fusion, progress=progress)
        result = searcher.search(query, pages, top_n=top_n, read_ms=read_ms, problems=problems)
    for problem in problems:
        note(f"warning: passed over {problem}")
    if result.issues:
        note(f"warning: the model's reply needed repair: {', '.join(result.issues)}")
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

    from mmr5.render.table import result_table

    Console().print(result_table(result))
