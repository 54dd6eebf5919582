import json
import random

import pytest

from mmr5.errors import InputError
from mmr5.training.proof import summary
from mmr5.training.proof.drawing import SIDE, draw
from mmr5.training.proof.scenes import KINDS, Scene, document


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_held_out_combinations_are_never_on_a_page_that_training_sees(kind):
    hidden = set(kind.combinations(held_out=True))
    assert hidden and not hidden & set(kind.combinations(held_out=False))
    rng = random.Random(0)
    for _ in range(50):
        scenes, asked = document(kind, 5, rng, held_out=False)
        assert not hidden & {(s.a, s.b) for s in scenes}
        assert len(asked) == len({(s.a, s.b) for s in scenes}) == 5
        tested, asked = document(kind, 5, rng, held_out=True)
        (target,) = ((tested[i].a, tested[i].b) for i in asked)
        assert target in hidden
        near = [s for s in tested if (s.a == target[0]) != (s.b == target[1])]
        assert len(near) >= 2


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_what_does_not_matter_changes_the_picture_and_what_matters_too(kind):
    a, b = kind.combinations(held_out=False)[0]
    first = draw(Scene(kind.name, a, b, 1))
    assert first.size == (SIDE, SIDE)
    assert first.tobytes() == draw(Scene(kind.name, a, b, 1)).tobytes()
    others = [draw(Scene(kind.name, x, y, 1)).tobytes() for x, y in kind.combinations(held_out=False)[1:]]
    assert first.tobytes() not in others


def test_drawn_pages_have_no_text_layer_and_make_rows(pages_corpus):
    from mmr5 import read_pages
    from mmr5.data.rows import read_rows

    pages = read_pages(pages_corpus / "corpus" / "pdf" / "train-bars-000.pdf", ocr="never")
    assert len(pages) == 5 and not any(page.text for page in pages)
    sft, grpo = read_rows(pages_corpus / "sft.jsonl"), read_rows(pages_corpus / "grpo.jsonl")
    assert {len(r.page_ids) for r in sft[:25]} == {2} and {len(r.page_ids) for r in sft[25:]} == {5}
    assert all(r.target.count("as asked.") == 1 for r in sft)
    assert len(grpo) == 25 and all(r.target is None for r in grpo)


def test_the_tokenizer_gives_back_every_reply(pages_corpus):
    from mmr5.data.rows import read_rows
    from mmr5.training.proof.base import tokenizer

    made = tokenizer()
    for row in read_rows(pages_corpus / "sft.jsonl"):
        assert made.decode(made(row.target)["input_ids"]) == row.target


def test_the_summary_reads_what_the_commands_leave(tmp_path):
    reply = "<think>x</think><answer>[2, 1]</answer>"
    for where, recall in (("sft-test", 0.95), ("half-test", 0.5), ("grpo-test", 0.6)):
        folder = tmp_path / where
        folder.mkdir()
        (folder / "scores.json").write_text(json.dumps({"reranked": {"micro": {"recall@1": recall}}}))
        lines = [
            {"relevant": [7], "candidates": [3, 7], "reply": reply},
            {"relevant": [3], "candidates": [3, 7], "reply": reply if where == "half-test" else reply.replace("2, 1", "1, 2")},
        ]
        (folder / "run.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    for stage in ("sft", "grpo"):
        (tmp_path / stage).mkdir()
        (tmp_path / stage / "history.json").write_text(json.dumps({"facts": {"seconds": 10.0}}))
    found = summary.summarise(tmp_path)
    assert found["half_sft_ranking_reward"] == pytest.approx(0.5625) and found["grpo_reward"] == 2.0
    assert found["goals"] == {
        "sft sees": True,
        "grpo ranks better": True,
        "grpo earns more for ranking": True,
        "grpo earns more for format": False,
    }
    assert json.loads((tmp_path / "summary.json").read_text())["seconds"] == 20.0


def test_half_a_training_needs_a_training(tmp_path):
    with pytest.raises(InputError, match="run the first stage before"):
        summary.take_half(tmp_path, 0.5)
    for step in (10, 20, 30):
        (tmp_path / "sft" / f"checkpoint-{step}").mkdir(parents=True)
        (tmp_path / "sft" / f"checkpoint-{step}" / "config.json").write_text(str(step))
    assert (summary.take_half(tmp_path, 0.6) / "config.json").read_text() == "20"
