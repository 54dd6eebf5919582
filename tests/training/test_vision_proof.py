import json
import random

import pytest

from mmr5.errors import InputError
from vision_proof import half, summary
from vision_proof.corpus import BLOCK, PAGES, ROWS, curriculum
from vision_proof.drawing import SIDE, draw
from vision_proof.scenes import KINDS, Scene, document, near


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
        combinations = [(s.a, s.b) for s in tested]
        assert {combinations[i] for i in asked} < hidden and len(asked) == 2 and len(set(combinations)) == 5
        assert all(sum(near(c, combinations[i]) for c in combinations) >= 1 for i in asked)
        assert sum(near(c, combinations[i]) for c in combinations for i in asked) >= 3


def test_every_value_that_is_held_out_with_one_partner_is_seen_with_another():
    for kind in KINDS:
        seen = kind.combinations(held_out=False)
        for a, b in kind.combinations(held_out=True):
            assert any(x == a for x, _ in seen) and any(y == b for _, y in seen)
        hidden = kind.combinations(held_out=True)
        assert any({pair[side] for pair in hidden} == set(own) for side, own in enumerate((kind.first, kind.second)))


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
    assert {n: sum(len(r.page_ids) == n for r in sft) for n in ROWS} == {n: 5 * rows for n, rows in ROWS.items()}
    assert all(r.target.count("so yes.") == 1 for r in sft)
    broad = {question for kind in KINDS for question, _ in kind.broad}
    assert all((r.question in broad) is (len(r.page_ids) == 1) for r in sft)
    assert len(grpo) == 20 and all(r.target is None and len(r.page_ids) == PAGES for r in grpo)


def test_a_broad_question_gives_nothing_away():
    for kind in KINDS:
        words = {*kind.first, *kind.second}
        assert not any(word in question.split() for question, _ in kind.broad for word in words)
        scene = Scene(kind.name, *kind.combinations(held_out=False)[0], 1)
        told = [scene.told(note).split() for _, note in kind.broad]
        own = [(any(w in words for w in scene.a.split()), any(w.strip(",") in words for w in scene.b.split())) for words in told]
        assert {(True, True), (True, False), (False, True)} <= set(own)


def test_the_bars_that_are_told_are_those_that_are_drawn():
    from vision_proof.drawing import INK

    scene = Scene("bars", "third", "cyan", 5)
    page = draw(scene)
    for place, color in enumerate(scene.bars):
        seen = page.getpixel((34 + place * 74 + 28, 318 - 25))
        assert min(INK, key=lambda c: sum((a - b) ** 2 for a, b in zip(INK[c], seen, strict=True))) == color
    assert scene.bars[2] == "cyan" and len(set(scene.bars)) == 4
    assert scene.told("bars in {bars}") == f"bars in {' '.join(scene.bars)}"


def test_the_tokenizer_gives_back_every_reply(pages_corpus):
    from mmr5.data.rows import read_rows
    from vision_proof.base import tokenizer

    made = tokenizer()
    for row in read_rows(pages_corpus / "sft.jsonl"):
        assert made.decode(made(row.target)["input_ids"]) == row.target


def test_a_page_label_is_one_token_and_the_same_in_prompt_and_reply():
    from vision_proof.base import tokenizer

    made = tokenizer()
    label = made("\nImage 3: ")["input_ids"][-1]
    assert made.decode([label]) == "Image 3: "
    assert label in made("Image 2: Shows a red circle instead.\nImage 3: Shows a blue square, as asked.\n")["input_ids"]


def test_the_summary_reads_what_the_commands_leave(tmp_path):
    reply = "<think>x</think><answer>[2, 1]</answer>"
    folders = {"sft-test": 0.95, "half-test": 0.5, "grpo-test": 0.6, "half-sampled": 0.1, "grpo-sampled": 0.1}
    for where, recall in folders.items():
        folder = tmp_path / where
        folder.mkdir()
        (folder / "scores.json").write_text(json.dumps({"reranked": {"micro": {"recall@1": recall}}}))
        lines = [
            {"relevant": [7], "candidates": [3, 7], "reply": reply},
            {"relevant": [3], "candidates": [3, 7], "reply": reply if where == "half-sampled" else reply.replace("2, 1", "1, 2")},
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
    assert summary.summarise(tmp_path, seconds=99.0)["seconds"] == 99.0


def test_half_a_training_is_the_last_checkpoint_before_the_part_of_full_lists(tmp_path):
    with pytest.raises(InputError, match="run the first stage before"):
        half.take_half(tmp_path)
    for step in (10, 20, 30, 40):
        (tmp_path / "sft" / f"checkpoint-{step}").mkdir(parents=True)
        (tmp_path / "sft" / f"checkpoint-{step}" / "config.json").write_text(str(step))
        (tmp_path / "sft" / f"checkpoint-{step}" / "optimizer.pt").write_text("large")

    def taken(before):
        (tmp_path / "curriculum.json").write_text(json.dumps({"rows": 400, "before_full_lists": before}))
        return half.take_half(tmp_path)

    told = taken(299)
    assert told == {"step": 20, "of": 40, "full_lists_from": 30}
    assert (tmp_path / "half" / "config.json").read_text() == "20" and not (tmp_path / "half" / "optimizer.pt").exists()
    assert json.loads((tmp_path / "half.json").read_text()) == told
    assert taken(300)["step"] == 30 and (tmp_path / "half" / "config.json").read_text() == "30"
    with pytest.raises(InputError, match=r"is of step 10, and full lists begin at step 9.*lower run.save_steps"):
        taken(90)


def test_the_curriculum_is_whole_blocks_of_equally_many_pages_and_loses_no_row():
    parts = {pages: [{"n": pages, "row": i} for i in range(size)] for pages, size in ((1, 70), (2, 330), (3, 256), (5, 160))}
    given = sorted((r["n"], r["row"]) for part in parts.values() for r in part)
    rows, before = curriculum(parts, random.Random(0))
    assert sorted((r["n"], r["row"]) for r in rows) == given
    blocks = [{r["n"] for r in rows[i : i + BLOCK]} for i in range(0, BLOCK * 25, BLOCK)]
    assert all(len(block) == 1 for block in blocks)
    kinds = [next(iter(block)) for block in blocks]
    assert kinds[:2] == [1, 1] and sorted(kinds[2:22]) == [2] * 10 + [3] * 8 + [5] * 2 and kinds[22:] == [5] * 3
    assert kinds[2:22] != sorted(kinds[2:22]), "lengths are mixed"
    assert before == BLOCK * 22
    assert {r["n"] for r in rows[BLOCK * 25 :]} == {1, 2}


def test_the_steps_as_commands(tmp_path, capsys):
    from vision_proof.__main__ import main

    assert main(["draw", "--out", str(tmp_path), "--scale", "0.001"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["parameters"] == 2_199_168 and told["documents"] == 5 + 4 + 5 and told["sft_rows"] == 60
    assert (tmp_path / "base" / "model.safetensors").is_file() and (tmp_path / "corpus" / "docs.json").is_file()
    for where in ("sft-test", "half-test", "grpo-test", "half-sampled", "grpo-sampled"):
        (tmp_path / where).mkdir()
        (tmp_path / where / "scores.json").write_text(json.dumps({"reranked": {"micro": {"recall@1": 0.5}}}))
        (tmp_path / where / "run.jsonl").write_text(json.dumps({"relevant": [3], "candidates": [3, 7], "reply": None}) + "\n")
    for stage in ("sft", "grpo"):
        (tmp_path / stage).mkdir()
        (tmp_path / stage / "history.json").write_text(json.dumps({"facts": {"seconds": 10.0}}))
    assert main(["summary", "--out", str(tmp_path)]) == 0
    assert main(["summary", "--out", str(tmp_path), "--check"]) == 1
    assert "goals that do not hold: sft sees, grpo ranks better" in capsys.readouterr().err
