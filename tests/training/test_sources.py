import json
import sys
from types import SimpleNamespace

import pytest

from mmr5.errors import ConfigError, ContextLengthError, CorpusError, MissingExtraError
from mmr5.training import row_dataset
from mmr5.training.config import from_tables
from support.tiny import TEMPLATE, Picture, tokenizer


@pytest.fixture
def config(pages_corpus):
    """``config(data={…}, recipe={…})`` is a run over the drawn pages."""

    def make(*, data=None, recipe=None):
        own = {"rows": str(pages_corpus / "sft.jsonl"), "corpus": str(pages_corpus / "corpus"), "max_pixels": 7056}
        tables = {"model": {"base": "b"}, "run": {"out": "o"}, "data": own | (data or {}), "recipe": recipe or {}}
        return from_tables(tables, "test")

    return make


def test_rows_are_limited_in_file_order(config, pages_corpus):
    first = [json.loads(line)["qid"] for line in (pages_corpus / "sft.jsonl").read_text().splitlines()[:3]]
    assert [row.qid for row in row_dataset.read_training_rows(config(data={"limit": 3}), taught=True)] == first


def test_a_stage_takes_the_rows_that_it_learns_from(config, pages_corpus):
    grpo = {"rows": str(pages_corpus / "grpo.jsonl")}
    assert len(row_dataset.read_training_rows(config(data=grpo), taught=False)) == 20
    with pytest.raises(CorpusError, match="no rows of kind listwise or pointwise"):
        row_dataset.read_training_rows(config(data=grpo), taught=True)
    with pytest.raises(ConfigError, match=r"method 'reason' with view 'image', and \[recipe\] says 'direct'"):
        row_dataset.read_training_rows(config(recipe={"method": "direct"}), taught=True)


def test_pages_as_text_need_a_budget(config):
    with pytest.raises(ConfigError, match=r"recipe\.page_tokens is not given with view 'both'"):
        row_dataset.conversations(config(recipe={"view": "both"}), tokenizer())


@pytest.mark.parametrize(
    ("max_tokens", "context", "limit"), [(0, None, None), (0, 512, 512), (300, None, 300), (300, 512, 300), (900, 512, 512)]
)
def test_the_lesser_limit_holds(config, max_tokens, context, limit):
    assert row_dataset.token_limit(config(data={"max_tokens": max_tokens}), context) == limit


def test_a_missing_datasets_is_named(config, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingExtraError, match=r"mmr5\[train\]"):
        row_dataset.dataset([], None, config(), taught=True, context=None)


def speech(made, words):
    return row_dataset.Speech(row_dataset.conversations(made, words), words, TEMPLATE)


def test_an_example_has_as_many_slots_as_pictures(config):
    made = config()
    rows = row_dataset.read_training_rows(made, taught=True)
    words = tokenizer()
    found = row_dataset.RowMaker(rows, speech(made, words), 7056, None, taught=True, seeing=True)(len(rows) - 1)
    slots = [part for message in found["prompt"] for part in message["content"] if part["type"] == "image"]
    assert len(slots) == len(found["images"]) == len(rows[-1].page_ids)
    assert all(part == {"type": "image"} for part in slots)
    assert found["completion"][0]["content"][0]["text"] == rows[-1].target + "<|im_end|>"
    assert max(picture.width * picture.height for picture in found["images"]) <= 7056


def test_an_example_for_rewards_says_what_is_right(config, pages_corpus):
    made = config(data={"rows": str(pages_corpus / "grpo.jsonl")})
    rows = row_dataset.read_training_rows(made, taught=False)
    words = tokenizer()
    maker = row_dataset.RowMaker(rows, speech(made, words), 7056, None, taught=False, seeing=True)
    found = maker.batch({"row": [2, 0]})
    assert (found["row"], found["n"], found["think"]) == ([2, 0], [5, 5], [True, True])
    assert found["relevant"] == [list(rows[2].relevant), list(rows[0].relevant)]
    assert "completion" not in found and maker.batch({"row": []}) == {}


def test_a_row_is_measured_with_its_pictures_and_named_when_too_long(config):
    made = config()
    rows = row_dataset.read_training_rows(made, taught=True)[-1:]
    words = tokenizer()
    words_of = speech(made, words)

    def make(limit):
        return row_dataset.RowMaker(rows, words_of, 7056, limit, taught=True, seeing=True)(0)

    spoken = [row_dataset._text(m) for key in ("prompt", "completion") for m in make(None)[key]]
    tokens = sum(len(words(text)["input_ids"]) for text in spoken) + 9 * len(rows[0].page_ids)
    make(tokens)
    with pytest.raises(
        ContextLengthError, match=rf"{rows[0].qid} has about {tokens} tokens, more than {tokens - 1}.*nothing is cut"
    ):
        make(tokens - 1)


def test_a_picture_is_decoded_once_and_known_by_its_content():
    decoded = []

    class Counted(Picture):
        def load(self, max_pixels=None):
            decoded.append((self.key, max_pixels))
            return super().load(max_pixels)

    load = row_dataset.picture_loader(784)
    first = load(Counted("a"))
    assert load(Counted("a")) is first
    load(Counted("b"))
    assert decoded == [("a", 784), ("b", 784)]


def test_a_page_row_is_relevant_at_its_only_place():
    from mmr5.data.rows import PageRow

    row = PageRow("q#0", "q", "?", 4, True, 3, 1.0, "text", "note", "Yes. note")
    talk = SimpleNamespace(prompt=lambda row: [{"role": "user", "content": [{"type": "text", "text": "?"}]}])
    found = row_dataset.RowMaker([row], row_dataset.Speech(talk, tokenizer(), TEMPLATE), 784, None, taught=False, seeing=False)(0)
    assert (found["relevant"], found["n"], found["think"]) == ([0], 1, False)
