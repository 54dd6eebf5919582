"""``mmr5 index``: a stored collection of documents."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated, Any

import typer

from mmr5.cli import options
from mmr5.cli.console import note, progress_line
from mmr5.cli.flags import flags
from mmr5.settings import ReadingSettings

app = typer.Typer(no_args_is_help=True, help="Keep a collection of documents that mmr5 search looks through.")


@app.command()
@flags
def add(
    index: options.IndexPlace,
    sources: options.Sources,
    reading: ReadingSettings,
    meta: Annotated[list[str] | None, typer.Option(help="A field of these documents, as name=value; may be repeated.")] = None,
    meta_file: Annotated[Path | None, typer.Option(help="Fields by document: JSON lines with source and the fields.")] = None,
    retriever: Annotated[str | None, typer.Option(help="First stage that a new index is made for. [default: hybrid]")] = None,
    embed: Annotated[bool, typer.Option("--embed/--no-embed", help="Embed the pages, too; else mmr5 index embed does.")] = True,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes that read. [default: one a core, at most 8]")] = None,
    as_json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Add documents to an index, which is made where there is none; what is stored already is left alone.

    Again after a kill it goes on where it was. For example:

    mmr5 index add reports.index reports/ --meta year=2024
    """
    del debug
    from mmr5.retrieval.index import Index

    fields = None if not meta else dict(map(_field, meta))
    by_source = None if meta_file is None else _fields_of(meta_file)
    problems: list[Any] = []
    with progress_line() as progress:
        collection = Index.open(index, create=True, retriever=retriever)
        done = collection.add(
            sources,
            metadata=fields,
            metadata_of=by_source,
            reading=reading,
            embed=embed,
            workers=workers,
            progress=progress,
            on_problem=problems.append,
        )
    for problem in problems:
        note(f"warning: {problem}")
    if as_json:
        told = [dataclasses.asdict(problem) for problem in done.problems]
        typer.echo(json.dumps({**dataclasses.asdict(done), "problems": told}, ensure_ascii=False))
        return
    typer.echo(
        f"{_count(done.added, 'document')} added, {done.updated:,} updated, {done.unchanged:,} unchanged; "
        f"{_count(done.pages, 'page')} read. {index} holds {_count(len(collection.documents()), 'document')} "
        f"with {_count(len(collection), 'page')}"
    )


@app.command()
def embed(index: options.IndexPlace, debug: options.Debug = False) -> None:
    """Embed the pages of an index that wait for it, as after --no-embed or a kill."""
    del debug
    from mmr5.retrieval.index import Index

    with progress_line() as progress:
        done = Index.open(index).embed(progress=progress)
    typer.echo(f"{_count(done, 'page')} embedded")


@app.command()
def remove(
    index: options.IndexPlace,
    sources: Annotated[list[str], typer.Argument(help="Documents by name or path, or folders of them.", show_default=False)],
    as_json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Remove documents from an index. Their files stay."""
    del debug
    from mmr5.retrieval.index import Index

    gone = Index.open(index).remove(sources)
    if as_json:
        typer.echo(json.dumps([document.source for document in gone], ensure_ascii=False))
    else:
        typer.echo(f"{_count(len(gone), 'document')} with {_count(sum(one.pages for one in gone), 'page')} removed")


@app.command("list")
def list_documents(
    index: options.IndexPlace,
    where: Annotated[str | None, typer.Option(help='Only documents for which this holds, e.g. "year >= 2020".')] = None,
    as_json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """List the documents of an index."""
    del debug
    from mmr5.retrieval.index import Index

    found = Index.open(index).documents(where)
    if as_json:
        for document in found:
            own = {"source": document.source, "key": document.key, "path": document.path, "pages": document.pages}
            more = {"added": document.added, "metadata": dict(document.metadata), "languages": dict(document.languages)}
            told = [{"page": problem.page, "message": problem.message} for problem in document.problems]
            typer.echo(json.dumps({**own, **more, "problems": told}, ensure_ascii=False))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for name in ("document", "pages", "language", "added", "fields"):
        table.add_column(name, justify="right" if name == "pages" else "left", overflow="fold")
    for document in found:
        fields = ", ".join(f"{name} = {shown(value)}" for name, value in document.metadata.items())
        main = max(document.languages, key=lambda one: document.languages[one], default="")
        table.add_row(document.source, f"{document.pages:,}", main, document.added[:10], fields)
    Console().print(table)


@app.command()
def stats(index: options.IndexPlace, as_json: options.Json = False, debug: options.Debug = False) -> None:
    """Say what an index holds, and how it is searched."""
    del debug
    from mmr5.retrieval.index import Index

    found = Index.open(index).stats()
    if as_json:
        typer.echo(json.dumps(dataclasses.asdict(found), ensure_ascii=False))
        return
    size = "" if found.bytes is None else f", {found.bytes / 1e6:,.1f} MB"
    spoken = ", ".join(f"{language} {pages:,}" for language, pages in found.languages.items())
    typer.echo(f"documents   {found.documents:,}")
    typer.echo(f"pages       {found.pages:,} ({found.without_words:,} without words){size}")
    typer.echo(f"languages   {spoken or 'none'}")
    typer.echo(f"first stage {found.retriever}, {'every vector compared' if found.exact else 'vectors looked up'}")
    if found.waiting:
        typer.echo(f"waiting     {found.waiting:,} pages are found by words alone so far: mmr5 index embed {index}")
    typer.echo(f"problems    {found.problems:,}" + (" (mmr5 index list --json names them)" if found.problems else ""))
    typer.echo(f"version     {found.version}")


def _field(given: str) -> tuple[str, Any]:
    """A field as ``name=value``; a value that is a number, true or false in JSON counts as that."""
    name, sign, value = given.partition("=")
    if not sign or not name.strip():
        raise typer.BadParameter(f"{given!r} is no name=value", param_hint="--meta")
    return name.strip(), _value(value.strip())


def _value(text: str) -> Any:
    try:
        found = json.loads(text)
    except ValueError:
        return text
    return found if isinstance(found, int | float | bool) else text


def _fields_of(file: Path) -> dict[str, dict[str, Any]]:
    """Fields by document of a file of JSON lines.

    Raises:
        CorpusError: it cannot be read, or a line has no source.
    """
    from mmr5.storage.jsonl import read_jsonl, text_field

    found: dict[str, dict[str, Any]] = {}
    for number, record in read_jsonl(file):
        source = text_field(record, "source", f"{file}, line {number}")
        found[source] = {name: value for name, value in record.items() if name != "source"}
    return found


def shown(value: Any) -> str:
    """A field's value for people."""
    return f"{value:g}" if isinstance(value, float) else str(value).lower() if isinstance(value, bool) else str(value)


def _count(n: int, word: str) -> str:
    return f"{n:,} {word}" + ("" if n == 1 else "s")
