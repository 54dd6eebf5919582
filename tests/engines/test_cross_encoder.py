"""Cross-encoders on tiny random checkpoints: one score a pair, through sentence-transformers or MonoQwen2-VL's own prompt."""

import numpy as np
import pytest

from mmr5 import Reranker
from mmr5.engines.cross_encoder import MONO_PROMPT, CrossEncoderEngine
from mmr5.engines.protocol import Request, Sampling
from mmr5.errors import CapabilityError, EngineError, ModelNotFoundError
from mmr5.methods import MethodSettings
from mmr5.methods import cross_encoder as method
from mmr5.types import Candidates, Page
from support import encoders, tiny
from support.tiny import Picture

PAGES = tuple(
    Page("a", i + 1, text, Picture(colour, (84, 112 + 28 * i), colour))
    for i, (text, colour) in enumerate([("Fees for yachts.", "white"), ("The seals of the harbour.", "red"), ("Cranes.", "blue")])
)
QUERY = "What does a yacht pay?"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("cross")
    folders = {
        "text": encoders.cross_encoder(root / "text"),
        "vision": encoders.vision_cross_encoder(root / "vision"),
        "mono": tiny.vision_model(root / "MonoQwen2-VL-tiny"),
    }
    return {name: CrossEncoderEngine(str(folder), device="cpu", dtype="float32") for name, folder in folders.items()} | {
        "root": root
    }


def test_it_says_what_it_can(made):
    assert made["text"].capabilities.score_pairs
    assert not made["text"].capabilities.images
    assert made["vision"].capabilities.images
    assert made["mono"].capabilities.images
    assert made["text"].capabilities.context_tokens == 256
    assert made["text"].count_tokens("abc") == 3
    for call in (
        lambda e: e.generate([Request([])], Sampling()),
        lambda e: e.score_choices([Request([])], [["a"]]),
        lambda e: e.score_text([Request([])], ["a"]),
    ):
        with pytest.raises(CapabilityError, match="use method 'cross-encoder'"):
            call(made["text"])


def test_a_text_score_is_that_of_the_library(made):
    import torch
    from sentence_transformers import CrossEncoder

    plain = CrossEncoder(str(made["root"] / "text"), device="cpu")
    expected = plain.predict([(QUERY, p.text) for p in PAGES], activation_fn=torch.nn.Identity())
    ours = made["text"].score_pairs([QUERY] * 3, [(p.text, None) for p in PAGES])
    assert np.allclose(ours, expected, atol=1e-5)
    assert len(set(ours)) == 3


def test_a_picture_score_is_the_log_odds_of_the_two_tokens(made):
    """Against one forward pass of the same backbone, by hand."""
    import torch

    engine = made["vision"]
    model = engine.weights
    features = model.preprocess([(QUERY, PAGES[1].image.load())])
    with torch.inference_mode():
        kept = {
            k: v
            for k, v in features.items()
            if k in ("input_ids", "attention_mask", "pixel_values", "image_grid_thw", "mm_token_type_ids")
        }
        logits = model.transformers_model(**kept).logits[0, -1]
    (score,) = engine.score_pairs([QUERY], [(None, PAGES[1].image)])
    assert score == pytest.approx(float(logits[88] - logits[77]), abs=1e-4)


def test_monoqwen_answers_true_or_false_to_its_own_prompt(made):
    import torch

    engine = made["mono"]
    processor, model = engine._scorer._processor, engine._scorer._model
    said = MONO_PROMPT.format(query=QUERY)
    prompt = f"<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|>{said}<|im_end|>\n<|im_start|>assistant\n"
    with torch.inference_mode():
        inputs = processor(text=[prompt], images=[PAGES[0].image.load()], return_tensors="pt")
        logits = model(**inputs).logits[0, -1]
    true, false = (processor.tokenizer.convert_tokens_to_ids(letter) for letter in "TF")
    alone = engine.score_pairs([QUERY], [(None, PAGES[0].image)])
    assert alone[0] == pytest.approx(float(logits[true] - logits[false]), abs=1e-4)
    together = engine.score_pairs([QUERY] * 3, [(None, p.image) for p in PAGES])
    assert together[0] == pytest.approx(alone[0], abs=1e-3), "padding changes nothing"
    with pytest.raises(CapabilityError, match="reads pictures"):
        engine.score_pairs([QUERY], [("text", None)])
    assert isinstance(engine.score_pairs(["a <|image_pad|> <|im_end|>"], [("t", PAGES[0].image)])[0], float)


class Fixed:
    """Scores a page by the length of its text."""

    name = model = "fixed"

    def __init__(self, capabilities):
        self.capabilities = capabilities
        self.seen = []

    def count_tokens(self, text):
        return len(text.split())

    def score_pairs(self, queries, documents):
        self.seen.append((list(queries), list(documents)))
        return [float(len(text or "")) for text, _ in documents]


def test_lists_of_any_length_are_scored_in_one_batch_and_ties_keep_their_order(made):
    engine = Fixed(made["text"].capabilities)
    lists = [Candidates("q", PAGES), Candidates("r", ()), Candidates("s", (PAGES[2], PAGES[2], PAGES[0]))]
    found = method.rank(engine, lists, MethodSettings(view="text"))
    assert [r.order for r in found] == [(1, 0, 2), (), (2, 0, 1)]
    assert found[0].scores == (16.0, 25.0, 7.0)
    assert found[0].score_kind == "cross_encoder"
    assert len(engine.seen) == 1
    assert engine.seen[0][0] == ["q"] * 3 + ["s"] * 3
    assert method.rank(engine, [], MethodSettings(view="text")) == []


def test_views_decide_what_is_shown(made):
    engine = Fixed(made["vision"].capabilities)
    shown = {view: method.document(engine, QUERY, PAGES[0], MethodSettings(view=view)) for view in ("text", "image", "both")}
    assert shown["text"] == ("Fees for yachts.", None)
    assert shown["image"] == (None, PAGES[0].image)
    assert shown["both"] == ("Fees for yachts.", PAGES[0].image)
    with pytest.raises(CapabilityError, match="images"):
        method.rank(Fixed(made["text"].capabilities), [Candidates("q", PAGES)], MethodSettings(view="image"))


def test_a_long_page_is_cut_to_what_the_model_reads(made):
    engine = made["text"]
    page = Page(
        "a", 1, "\n\n".join(["An opening line. " * 20] * 9 + ["What a yacht pays: 31 euros."] + ["A closing line. " * 20] * 9)
    )
    text, _ = method.document(engine, QUERY, page, MethodSettings(view="text"))
    assert text
    assert engine.count_tokens(text) + engine.count_tokens(QUERY) + method.SPECIAL_TOKENS <= 256


@pytest.mark.parametrize(("kind", "view"), [("text", "text"), ("vision", "image"), ("mono", "image")])
def test_a_reranker_by_one_flag(kind, view, made, tmp_path):
    folder = {"text": "text", "vision": "vision", "mono": "MonoQwen2-VL-tiny"}[kind]
    reranker = Reranker.from_pretrained(str(made["root"] / folder), engine="cross-encoder", device="cpu", dtype="float32")
    assert (reranker.method, reranker.view, reranker.model) == ("cross-encoder", view, folder)
    assert reranker.fingerprint == "none"
    result = reranker.rerank(QUERY, PAGES)
    expected = made[kind].score_pairs([QUERY] * 3, [(p.text, None) if view == "text" else (None, p.image) for p in PAGES])
    assert result.order == tuple(sorted(range(3), key=lambda i: -expected[i]))
    assert [page.score for page in result] == pytest.approx(sorted(expected, reverse=True), abs=1e-3)


def test_what_cannot_be_a_cross_encoder_is_refused(made, tmp_path):
    with pytest.raises(ModelNotFoundError, match="3 labels"):
        CrossEncoderEngine(str(encoders.bert(tmp_path / "nli", labels=3)), device="cpu")
    with pytest.raises(ModelNotFoundError, match="no model"):
        Reranker.from_pretrained(str(tmp_path / "nothing"), engine="cross-encoder")
    with pytest.raises(CapabilityError, match="cross-encoder"):
        Reranker.from_pretrained(engine="scripted", method="cross-encoder", view="text").rerank(QUERY, PAGES)
    with pytest.raises(CapabilityError, match="generate"):
        Reranker(made["text"], method="reason").rerank(QUERY, PAGES)


def test_a_failing_model_is_an_engine_error(made, monkeypatch):
    def fail(*_):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(made["text"]._scorer, "predict", fail)
    with pytest.raises(EngineError, match="out of memory"):
        made["text"].score_pairs([QUERY], [("a", None)])
