"""Measuring the rows of a table: each first stage once, each row in its own folder, what is done is not done again."""

from __future__ import annotations

import gc
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any

import httpx

from mmr5.corpora import Corpus
from mmr5.engines.encoders import checkpoint_identity
from mmr5.errors import CapabilityError, ConfigError, EngineError, MissingExtraError, ModelNotFoundError
from mmr5.evaluation.benchmark import binding, evaluate
from mmr5.evaluation.provenance import corpus_digest
from mmr5.evaluation.rankers import BASELINES
from mmr5.evaluation.runs import RUN, FirstStage, read_run
from mmr5.evaluation.table_report import table_markdown
from mmr5.evaluation.tables import Row, Table, slug
from mmr5.models.resolve import NAMED as EMBEDDED
from mmr5.reranker import Reranker
from mmr5.retrieval import release_models
from mmr5.retrieval.names import BASIC, find_encoding
from mmr5.settings import EvaluationSettings, TableSettings
from mmr5.storage.atomic import write_text
from mmr5.storage.cache import Cache
from mmr5.storage.jsonl import write_json
from mmr5.types import Progress

MARK = "row.json"
"""Stands in a row's folder once the row is whole, and says what was measured."""
HUB = "https://huggingface.co"
HUB_SECONDS = 5.0
CANNOT = (ModelNotFoundError, MissingExtraError, CapabilityError, EngineError)
"""What keeps one row from being measured; everything else stops the table."""


SHARED = ("limit", "ocr", "page_text", "base_url", "device", "dtype", "given")
"""Settings of a table that every row is measured with."""


def run_table(
    table: Table,
    corpus: Corpus,
    out: Path,
    *,
    only: Sequence[str] = (),
    how: TableSettings | None = None,
    split: str | None = None,
    name: str | None = None,
    cache: Cache | None = None,
    progress: Progress | None = None,
    command: str = "",
) -> dict[str, Any]:
    """Measure every row that can be measured here, and write ``table.json`` and ``table.md`` after each.

    Rows measured before are read from their folders ``out/rows/<row>``; one that was cut short goes on where it stopped. A first
    stage is run once, in ``out/first-stages``, and its candidates are given to every row that names it.

    Args:
        table: the rows.
        corpus: already narrowed to the split.
        out: the folder.
        only: names of rows; none takes all. Other rows are shown as they are.
        how: settings.
        split: the split's name.
        name: what the corpus was called; None takes the table's.
        cache: where page embeddings are kept.
        progress: told of rows and questions.
        command: what was run.

    Returns:
        The content of ``table.json``.

    Raises:
        ConfigError: an unknown row, or a row in ``out`` that was measured with other settings.
        CorpusError: a document is missing.
        OutputError: the folder cannot be written.
    """
    work = _Work(table, corpus, out, how or TableSettings(), split, name or table.corpus, cache, progress)
    asked = {row.slug for row in table.only(only)}
    facts = {
        "title": table.title,
        "source": table.source,
        "published_for": table.corpus,
        "corpus": work.name,
        "split": split,
        "candidates": table.candidates,
        "limit": work.how.limit,
        "n_questions": len(corpus.questions[: work.how.limit]),
        "n_documents": len({q.doc_name for q in corpus.questions[: work.how.limit]}),
        "command": command,
    }
    found: dict[str, dict[str, Any]] = {row.slug: work.before(row) for row in table.rows}
    for row in table.rows:
        if row.slug in asked and found[row.slug]["status"] != "done":
            found[row.slug] = work.measure(row)
        result = {**facts, "rows": [found[r.slug] for r in table.rows]}
        write_json(out / "table.json", result)
        write_text(out / "table.md", table_markdown(result))
    release_models()
    return result


@dataclass(frozen=True, slots=True)
class _Work:
    table: Table
    corpus: Corpus
    out: Path
    how: TableSettings
    split: str | None
    name: str
    cache: Cache | None
    progress: Progress | None

    def setup(self, row: Row) -> EvaluationSettings:
        """What is measured for a row."""
        own: dict[str, Any] = {name: getattr(row, name) for name in ("retriever", "model", "method", "view", "engine")}
        if _served(row, self.how):
            own["engine"] = "openai"
        shared = {name: getattr(self.how, name) for name in SHARED}
        return EvaluationSettings(self.name, self.split, candidates=self.table.candidates, **shared, **own)

    def before(self, row: Row) -> dict[str, Any]:
        """What is known of a row without measuring anything."""
        folder = self.folder(row)
        if not (folder / MARK).is_file():
            return self.entry(row, "not measured", why_not(row, self.how) or "not asked for yet")
        held = json.loads((folder / MARK).read_text(encoding="utf-8"))
        if held != self.mark(row):
            differ = sorted(key for key in {*held, *self.mark(row)} if held.get(key) != self.mark(row).get(key))
            raise ConfigError(
                f"row {row.name!r} in {self.out} was measured with other settings ({', '.join(differ)}): "
                f"name another folder, or delete {folder}"
            )
        return self.entry(row, "done", "", json.loads((folder / "scores.json").read_text(encoding="utf-8")))

    def measure(self, row: Row) -> dict[str, Any]:
        """Measure a row, or say why it cannot be."""
        reason = why_not(row, self.how)
        if reason:
            return self.entry(row, "not measured", reason)
        self.say(f"row {row.name}")
        folder = self.folder(row)
        try:
            stage = self.first_stage(row)
            with self.reranker(row) as reranker:
                scores = evaluate(
                    self.setup(row),
                    self.corpus,
                    folder,
                    reranker=reranker,
                    resume=True,
                    cache=self.cache,
                    progress=self.progress,
                    batch=self.how.batch,
                    first_stage=stage,
                )
        except CANNOT as error:
            return self.entry(row, "failed", str(error))
        write_json(folder / MARK, self.mark(row))
        return self.entry(row, "done", "", scores)

    def first_stage(self, row: Row) -> FirstStage | None:
        """The row's first stage, run once for all rows that name it; None where there is none."""
        if row.retriever == "none":
            return None
        folder = self.out / "first-stages" / slug(row.retriever)
        alone = replace(row, model="none", engine="transformers", method="auto", view="auto")
        self.say(f"first stage {row.retriever}")
        evaluate(self.setup(alone), self.corpus, folder, resume=True, cache=self.cache, progress=self.progress, html=False)
        release_models()
        return first_stage_of(folder)

    @contextmanager
    def reranker(self, row: Row) -> Iterator[Reranker | None]:
        """The row's model, let go of afterwards."""
        if row.model in BASELINES:
            yield None
            return
        setup = self.setup(row)
        if setup.engine != "openai":
            setup = replace(setup, base_url=None)
        opened = Reranker.from_settings(setup, cache=self.cache, progress=self.progress)
        try:
            yield opened
        finally:
            del opened
            free_memory()

    def folder(self, row: Row) -> Path:
        return self.out / "rows" / row.slug

    def mark(self, row: Row) -> dict[str, Any]:
        asked: dict[str, Any] = {
            **binding(self.setup(row)),
            "engine": row.engine,
            "weights": [weights_identity(name) for name in _checkpoints(row)],
            "corpus_sha256": corpus_digest(self.corpus),
        }
        return asked

    def entry(self, row: Row, status: str, reason: str, scores: Mapping[str, Any] | None = None) -> dict[str, Any]:
        kept = ("n_questions", "retriever", "reranked", "delta", "ci95", "candidate_recall", "parse", "latency_ms")
        return {
            **{key: getattr(row, key) for key in ("name", "retriever", "model", "engine", "method", "view", "gpu_gb")},
            "published": {kind: list(getattr(row, kind)) or None for kind in ("macro", "micro")},
            "status": status,
            "reason": reason,
            "folder": f"rows/{row.slug}",
            "scores": None if scores is None else {key: scores[key] for key in kept},
        }

    def say(self, what: str) -> None:
        if self.progress is not None:
            self.progress(what, 0, None)


def first_stage_of(folder: Path) -> FirstStage:
    """The candidates of a run without a model, with the scores of its first stage."""
    lines, rankings = read_run(folder), {}
    for line in lines:
        scores = line.first_stage_scores or tuple(-float(place) for place in range(len(line.candidates)))
        rankings[line.qid] = list(zip(line.candidates, scores, strict=True))
    scale = lines[0].first_stage_scale if lines else None
    return FirstStage(folder / RUN, rankings, {line.qid: line.doc_name for line in lines}, scale)


def why_not(row: Row, how: TableSettings) -> str:
    """Why a row cannot be measured on this machine, as far as can be told without loading anything; empty if it may be."""
    if row.unavailable:
        return row.unavailable
    if row.gpu_gb and not how.anywhere and not _served(row, how):
        held = gpu_memory()
        if held < row.gpu_gb:
            there = f"its GPU has {held:.0f} GB" if held else "there is none"
            return f"needs a GPU with {row.gpu_gb:g} GB, and {there}"
    served = (row.model,) if _served(row, how) else ()
    missing = [name for name in _checkpoints(row) if name not in served and not is_here(name)]
    if missing and not hub_answers():
        return f"the weights {missing[0]} are not on this machine, and the hub cannot be reached"
    return ""


def weights_identity(name: str) -> str:
    """What tells a checkpoint from another one of that name; for an embedded model, what the package holds of it."""
    folder = Path(str(resources.files("mmr5"))) / "models" / name
    return checkpoint_identity(str(folder) if name in EMBEDDED and folder.is_dir() else name)


def is_here(name: str) -> bool:
    """Whether a checkpoint is a folder, comes with the package, or is in the hub's cache."""
    if name in EMBEDDED or Path(name).expanduser().is_dir():
        return True
    try:
        from huggingface_hub import try_to_load_from_cache
    except ImportError:
        return False
    files = ("config.json", "modules.json", "adapter_config.json")
    return any(isinstance(try_to_load_from_cache(name, file), str) for file in files)


def hub_answers() -> bool:
    """Whether the Hugging Face hub can be reached, asked once."""
    global _hub
    if _hub is None:
        offline = os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes")
        try:
            _hub = not offline and httpx.head(os.environ.get("HF_ENDPOINT", HUB), timeout=HUB_SECONDS).status_code < 500
        except httpx.HTTPError:
            _hub = False
    return _hub


_hub: bool | None = None


def gpu_memory() -> float:
    """Memory of the largest GPU, in GB; 0 without one."""
    try:
        import torch
    except ImportError:
        return 0.0
    if not torch.cuda.is_available():
        return 0.0
    return max(torch.cuda.get_device_properties(i).total_memory for i in range(torch.cuda.device_count())) / 1e9


def free_memory() -> None:
    """Give back what no object holds any more."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()


def _served(row: Row, how: TableSettings) -> bool:
    return how.base_url is not None and row.engine == "transformers" and row.method in ("reason", "direct")


def _checkpoints(row: Row) -> list[str]:
    stages = [find_encoding(part).checkpoint for part in row.retriever.split("+") if part not in BASIC]
    return [*stages, *([] if row.model in BASELINES else [row.model])]
