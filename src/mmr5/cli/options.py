"""Flags that several verbs share, each declared once."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Method(StrEnum):
    """Values of ``--method``."""

    AUTO = "auto"
    REASON = "reason"
    DIRECT = "direct"
    LOGITS = "logits"
    POINTWISE = "pointwise"
    LIKELIHOOD = "likelihood"
    CROSS_ENCODER = "cross-encoder"


class View(StrEnum):
    """Values of ``--view``."""

    AUTO = "auto"
    IMAGE = "image"
    TEXT = "text"
    BOTH = "both"


class Engine(StrEnum):
    """Values of ``--engine``."""

    TRANSFORMERS = "transformers"
    OPENAI = "openai"
    VLLM = "vllm"
    CROSS_ENCODER = "cross-encoder"
    SCRIPTED = "scripted"


class PageText(StrEnum):
    """Values of ``--page-text``."""

    OCR = "ocr"
    VLM = "vlm"


class Ocr(StrEnum):
    """Values of ``--ocr``."""

    AUTO = "auto"
    NEVER = "never"
    ALWAYS = "always"


Query = Annotated[str, typer.Argument(help="The question.", show_default=False)]
Sources = Annotated[list[str], typer.Argument(help="PDFs, images, or folders of either.", show_default=False)]
Model = Annotated[str, typer.Option(help="mini, a folder with a checkpoint, or a hub name such as i2vec/MM-R5.")]
EngineOption = Annotated[Engine, typer.Option("--engine", help="What runs the model.")]
BaseUrl = Annotated[str | None, typer.Option(help="Address of an OpenAI-compatible server, e.g. http://localhost:8000/v1.")]
MethodOption = Annotated[Method, typer.Option("--method", help="How an order is won; auto takes the model's recipe.")]
ViewOption = Annotated[View, typer.Option("--view", help="How a page enters the prompt; auto takes the model's recipe.")]
Retriever = Annotated[
    str, typer.Option(help="First stage: hybrid, bm25, dense, none, clip, colqwen, text:CHECKPOINT, ... (see first-stages.md).")
]
CandidatesOption = Annotated[
    int | None, typer.Option("--candidates", min=1, help="Pages that are reranked. [default: 10, all with --retriever none]")
]
Fusion = Annotated[
    float | None, typer.Option(min=0.0, help="Weight of the model against the first stage. [default: the recipe's]")
]
Temperature = Annotated[
    float, typer.Option(min=0.0, help="Sampling temperature of replies; 0 decodes greedily. Seeded by --seed.")
]
Samples = Annotated[int, typer.Option(min=1, help="Orders over seeded shuffles, merged by Borda count (list-wise methods).")]
Seed = Annotated[int, typer.Option(help="Of shuffles and sampling.")]
ThinkTokens = Annotated[int | None, typer.Option(min=1, help="Most tokens of reasoning before the answer is asked for.")]
Constrain = Annotated[
    bool, typer.Option("--constrain", help="While an answer is written, only ids not named yet are possible (reason, direct).")
]
Keep = Annotated[
    float,
    typer.Option(
        min=0.0,
        max=1.0,
        help="Share of each page's visual tokens that is read, those that the question looks at most (Qwen2.5-VL).",
    ),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")]
Dtype = Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.")]
OcrOption = Annotated[Ocr, typer.Option("--ocr", help="Read pages without a text layer by OCR.")]
PageTextOption = Annotated[
    PageText | None, typer.Option("--page-text", help="Which text MMDocIR's pages get: ocr, or a model's description (vlm).")
]
Strict = Annotated[bool, typer.Option("--strict", help="Fail on a bad page or a reply that needs repair.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Html = Annotated[Path | None, typer.Option("--html", help="Also write a self-contained HTML report.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks and the model's raw reply.")]
