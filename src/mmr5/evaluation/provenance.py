"""Where a result comes from, and whether a run may be gone on with."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmr5.corpora import Corpus
from mmr5.errors import ConfigError
from mmr5.evaluation.runs import RUN
from mmr5.provenance import FILE, device_name, environment, file_digest
from mmr5.reranker import Reranker
from mmr5.storage.jsonl import write_json

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
        **environment(_LIBRARIES, "" if reranker is None else device_of(reranker)),
        "command": command,
        "config": dict(config),
        "inputs": {
            "corpus_sha256": corpus_digest(corpus),
            "run_sha256": None if run_file is None else file_digest(run_file),
        },
        "domains": None if corpus.domains is None else list(corpus.domains),
        "prompt_fingerprint": None if reranker is None else reranker.fingerprint,
        "dtype": None if reranker is None else reranker.dtype,
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
        write_json(file, facts)
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


def _differences(part: str, before: Any, now: Any) -> list[str]:
    if isinstance(before, dict) and isinstance(now, dict):
        return sorted(key for key in {*before, *now} if before.get(key) != now.get(key))
    return [] if before == now else [part]


def device_of(reranker: Reranker) -> str:
    """The device that the model runs on, with a GPU's name."""
    device = getattr(reranker.engine, "device", None)
    return reranker.engine.name if device is None else device_name(device)
