"""Where a result comes from, and whether a run may be gone on with."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from mmr5 import __version__
from mmr5.corpora import Corpus
from mmr5.errors import ConfigError, OutputError
from mmr5.evaluation.runs import RUN
from mmr5.reranker import Reranker

FILE = "provenance.json"
_LIBRARIES = ("torch", "transformers", "sentence-transformers", "bm25s", "numpy", "pypdfium2", "rapidocr", "peft", "httpx")
_BINDING = ("config", "inputs", "prompt_fingerprint")
"""The parts that must be equal for a run to be gone on with; versions and hardware may change."""


def provenance(
    config: Mapping[str, Any], command: str, corpus: Corpus, run_file: Path | None, reranker: Reranker | None
) -> dict[str, Any]:
    """Version, commit, settings, inputs, libraries, prompt fingerprint and hardware, as plain JSON values.

    Args:
        config: every setting, the seed among them.
        command: the command that does the same.
        corpus: what is asked, as narrowed to the split.
        run_file: a run that serves as first stage, or None.
        reranker: the model, or None for a baseline.
    """
    found = {
        "mmr5": __version__,
        "commit": commit(),
        "command": command,
        "config": dict(config),
        "inputs": {
            "corpus_sha256": corpus_digest(corpus),
            "run_sha256": None if run_file is None else hashlib.sha256(run_file.read_bytes()).hexdigest(),
        },
        "domains": None if corpus.domains is None else list(corpus.domains),
        "prompt_fingerprint": None if reranker is None else reranker.fingerprint,
        "libraries": {name: held for name in _LIBRARIES if (held := _version(name)) is not None},
        "hardware": {
            "machine": platform.machine(),
            "cores": os.cpu_count(),
            "device": "" if reranker is None else device_of(reranker),
            "python": platform.python_version(),
        },
    }
    plain: dict[str, Any] = json.loads(json.dumps(found))
    return plain


def corpus_digest(corpus: Corpus) -> str:
    """A hash of what is asked of which document, and which pages answer."""
    asked = [[q.qid, q.question, q.page_ids] for q in corpus.questions]
    sizes = sorted([d.doc_name, d.domain, d.pages] for d in corpus.documents)
    return hashlib.sha256(json.dumps([asked, sizes]).encode()).hexdigest()


def claim(out: Path, facts: Mapping[str, Any], *, resume: bool) -> dict[str, Any]:
    """Make a folder ours, or check that the run in it is the same one.

    Args:
        out: the folder.
        facts: as :func:`provenance` gives them.
        resume: go on with the run that is there.

    Returns:
        The provenance that stands in the folder: the one of the run's beginning.

    Raises:
        ConfigError: there is a run and ``resume`` is False, or it was made with other settings.
        OutputError: the folder cannot be written.
    """
    file = out / FILE
    run = out / RUN
    if not run.exists() or not run.stat().st_size:
        write_text(file, json.dumps(facts, indent=2, ensure_ascii=False) + "\n")
        return dict(facts)
    if not resume:
        raise ConfigError(f"{out} holds a run already: add --resume to go on with it, or name another folder")
    before = read_provenance(out)
    differ = [name for part in _BINDING for name in _differences(part, before.get(part), facts.get(part))]
    if differ:
        raise ConfigError(f"the run in {out} was made with other settings ({', '.join(differ)}): name another folder")
    return before


def read_provenance(folder: Path) -> dict[str, Any]:
    """The provenance of a run folder.

    Raises:
        ConfigError: it is missing or broken.
    """
    file = folder / FILE
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{file} cannot be read ({error}): the run in {folder} is not whole; name another folder") from error
    if not isinstance(found, dict):
        raise ConfigError(f"{file} holds no JSON object: the run in {folder} is not whole; name another folder")
    return found


def write_text(path: Path, text: str) -> None:
    """Write a file atomically.

    Raises:
        OutputError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        staging = path.with_name(f".{path.name}.tmp")
        staging.write_text(text, encoding="utf-8")
        staging.replace(path)
    except OSError as error:
        raise OutputError(
            f"cannot write {str(path)!r}: {error.strerror or error}. Name a folder that you may write to."
        ) from error


def commit() -> str | None:
    """The commit of the checkout that this code runs from (with ``+changes`` where it differs from it), or None outside one."""
    here = Path(__file__).resolve()
    if _git(here, "ls-files", "--error-unmatch", here.name) is None:
        return None
    head = _git(here, "rev-parse", "HEAD")
    package = str(here.parents[1])
    return None if head is None else head + ("+changes" if _git(here, "status", "--porcelain", "--", package) else "")


def _differences(part: str, before: Any, now: Any) -> list[str]:
    if isinstance(before, dict) and isinstance(now, dict):
        return sorted(key for key in {*before, *now} if before.get(key) != now.get(key))
    return [] if before == now else [part]


def device_of(reranker: Reranker) -> str:
    """The device that the model runs on, with a GPU's name."""
    device = getattr(reranker.engine, "device", None)
    if device is None:
        return reranker.engine.name
    torch = sys.modules.get("torch")
    if torch is not None and getattr(device, "type", "") == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return str(device)


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _git(here: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(here.parent), *arguments], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
