"""A run that cannot start leaves its folder free."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from mmr5.errors import ConfigError, CorpusError, ModelNotFoundError
from mmr5.storage.jsonl import write_json
from mmr5.training import run_dir
from mmr5.training.sft import train_sft


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ("data.rows=nowhere.jsonl", CorpusError),
        ("data.corpus=nowhere", CorpusError),
        ("model.base=./nowhere", ModelNotFoundError),
    ],
)
def test_what_is_refused_claims_nothing(settings, change, error):
    good = settings("sft", "optim.max_steps=1")
    bad = settings("sft", "optim.max_steps=1", change, f"run.out={good.run.out}")
    with pytest.raises(error):
        train_sft(bad)
    assert not Path(good.run.out).exists()


def test_a_folder_without_a_checkpoint_is_free(settings):
    config = settings("sft", "optim.max_steps=1")
    out = Path(config.run.out)
    out.mkdir(parents=True)
    write_json(out / "provenance.json", run_dir.provenance(replace(config, optim=replace(config.optim, seed=9)), "sft"))
    assert run_dir.find_checkpoint(config, "sft", resume=False) is None
    assert run_dir.find_checkpoint(config, "sft", resume=True) is None
    train_sft(config)
    with pytest.raises(ConfigError, match="holds a run already"):
        train_sft(config)
    shutil.rmtree(out / "checkpoint-1")
    with pytest.raises(ConfigError, match="holds a run already"):
        train_sft(config)
