from pathlib import Path

import pytest

PROOF = Path(__file__).parents[2] / "examples" / "vision_proof"


@pytest.fixture
def pages_corpus(tmp_path):
    """A corpus of drawn pages with its rows, small enough for a test."""
    from vision_proof.corpus import Amount, build

    build(tmp_path, Amount(train=1, grpo=1, test=1))
    return tmp_path


@pytest.fixture
def settings(pages_corpus, tiny_vision):
    """``settings("sft", "optim.max_steps=2", …)`` gives the configuration of a run on the small corpus."""
    from mmr5.training.config import load_config

    def make(stage, *overrides):
        own = [
            f"model.base={tiny_vision}", "model.dtype=float32", "model.autocast=float32", f"data.corpus={pages_corpus / 'corpus'}",
            f"data.rows={pages_corpus / stage}.jsonl", f"run.out={pages_corpus / 'runs' / stage}", "lora.enabled=true",
            "optim.batch_size=4", "optim.accumulation=1", "run.save_steps=2", "data.order=random", "data.workers=0",
        ]  # fmt: skip
        if stage == "grpo":
            own += [
                "grpo.group_size=2",
                "grpo.max_new_tokens=6",
                "grpo.iterations=2",
                "grpo.difficulty_samples=0",
                "grpo.temperature=1.0",
            ]
        return load_config(PROOF / f"{stage}.toml", [*own, *overrides])

    return make
