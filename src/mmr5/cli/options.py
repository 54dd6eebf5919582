"""Flags and arguments of several verbs that are no settings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Query = Annotated[str, typer.Argument(help="The question.", show_default=False)]
Sources = Annotated[
    list[str], typer.Argument(help="PDFs, images, office documents, texts, or folders of any.", show_default=False)
]
MoreSources = Annotated[
    list[str] | None, typer.Argument(help="PDFs, images, office documents, texts, or folders of any.", show_default=False)
]
Seed = Annotated[int, typer.Option(help="Of shuffles and sampling.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Html = Annotated[Path | None, typer.Option("--html", help="Also write a self-contained HTML report.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks and the model's raw reply.")]
Questions = Annotated[Path | None, typer.Option(help="A file of questions: one a line, or JSONL with question.")]
TopN = Annotated[int | None, typer.Option(min=1, help="Show only the best pages.")]
MinRelevance = Annotated[
    float | None, typer.Option(min=0, max=1, help="Leave out pages whose relevance, a probability, is below this.")
]
MaxContextTokens = Annotated[
    int | None, typer.Option(min=1, help="Give pages, best first, while their text fits this many tokens of the model.")
]
IndexPlace = Annotated[
    str, typer.Argument(help="The index: a folder, or an address such as s3://bucket/name.", show_default=False)
]
