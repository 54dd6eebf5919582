"""Each kind of first stage on a tiny random checkpoint, and the ranking code on small exact cases."""

import numpy as np
import pytest

from mmr5.engines import encoders as library
from mmr5.errors import ConfigError, ModelNotFoundError
from mmr5.excerpts import passages
from mmr5.retrieval import check_retriever, dense, image, is_retriever, late, open_retriever, release_models
from mmr5.retrieval.names import NAMED, find_encoding
from mmr5.retrieval.vectors import embed_pages
from mmr5.storage.cache import Cache
from mmr5.types import Page
from support import encoders, tiny
from support.tiny import Picture

COLOURS = ("white", "red", "green", "blue")


def pages(*, pictures=True, texts=True):
    found = [
        Page(
            "a",
            i + 1,
            f"The {c} page of harbour dues." if texts else None,
            Picture(c, (84 + 28 * i, 112), c) if pictures else None,
        )
        for i, c in enumerate(COLOURS)
    ]
    return [*found, Page("a", 5, "" if texts else None, None)]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """name → folder of a tiny checkpoint, built when first asked for."""
    root = tmp_path_factory.mktemp("checkpoints")
    builders = {
        "text": encoders.sentence_encoder, "clip": encoders.clip, "e5-v": encoders.llava_next, "dse": tiny.vision_model,
        "gme": tiny.vision_model, "colqwen": encoders.colqwen2, "colbert": encoders.colbert,
    }  # fmt: skip

    class Made(dict):
        def __missing__(self, name):
            self[name] = str(builders[name](root / name))
            return self[name]

    yield Made()
    release_models()


# --- names ---------------------------------------------------------------------------------------------------------------------


def test_a_name_stands_for_a_kind_a_checkpoint_and_a_prompt():
    assert find_encoding("clip") is NAMED["clip"]
    own = find_encoding("dse:/models/mine")
    assert (own.kind, own.checkpoint, own.prompts) == ("image", "/models/mine", NAMED["dse"].prompts)
    assert find_encoding("text:BAAI/bge-m3").kind == "text"
    assert find_encoding("late:colbert-ir/colbertv2.0").checkpoint == "colbert-ir/colbertv2.0"
    assert {NAMED[n].kind for n in ("clip", "e5-v", "dse", "gme")} == {"image"}
    assert {NAMED[n].kind for n in ("colqwen", "colpali")} == {"late"}


@pytest.mark.parametrize("name", ["psychic", "text:", "image", "bm25+psychic", ""])
def test_an_unknown_name_is_refused_with_the_ways_out(name):
    with pytest.raises(ConfigError, match=r"hybrid, bm25, .* clip, .* late:CHECKPOINT"):
        check_retriever(name)
    with pytest.raises(ConfigError):
        open_retriever(name, pages())


def test_a_run_is_not_taken_for_a_first_stage():
    assert all(is_retriever(n) for n in ("none", "hybrid", "clip", "colqwen:/x", "bm25+clip", "text:a/b"))
    assert not any(is_retriever(n) for n in ("runs/a", "run.trec", "/tmp/late.trec"))


def test_every_prompt_of_a_page_holds_one_image_token():
    for name in ("dse", "gme"):
        assert NAMED[name].prompts.page.count("<|image_pad|>") == 1
    assert NAMED["e5-v"].prompts.page.count("<image>") == 1
    assert [n for n, e in NAMED.items() if e.prompts and e.prompts.blank] == ["dse"]
    assert all("{query}" in e.prompts.query for e in NAMED.values() if e.prompts)


# --- ranking code on exact cases -----------------------------------------------------------------------------------------------


def test_maxsim_is_the_sum_of_the_best_match_of_each_query_token():
    query = np.array([[1.0, 0.0], [0.0, 1.0]])
    assert late.maxsim(query, np.array([[1.0, 0.0]])) == 1.0
    assert late.maxsim(query, np.array([[0.6, 0.8], [0.8, 0.6]])) == pytest.approx(1.6)
    assert late.maxsim(query, np.array([[-1.0, 0.0], [0.0, -1.0]])) == 0.0


def test_maxsim_is_that_of_the_library(made):
    encoder = late._encoder(made["colqwen"])
    asked = encoder.encode_query(["where?", "what is it about?"])
    shown = encoder.encode_document([p.image.load() for p in pages()[:4]])
    ours = [[late.maxsim(q.float().numpy(), d.float().numpy()) for d in shown] for q in asked]
    assert np.allclose(ours, encoder.similarity(asked, shown).float().numpy(), rtol=2e-2)


class Fixed:
    """An encoder with known vectors: pages by the red channel of their first pixel."""

    modalities = ("text", "image")

    def encode_pages(self, images):
        return np.array([[i.getpixel((0, 0))[0] / 255, i.getpixel((0, 0))[1] / 255] for i in images]) + 1e-3

    def encode_query(self, query, **_):
        unit = np.array([1.0, 0.0]) if "red" in str(query) else np.array([0.0, 1.0])
        return unit if isinstance(query, str) else [np.array([unit, unit])]

    def encode_document(self, images, **_):
        return [np.array([row, -row]) for row in self.encode_pages(images)]


def test_an_image_first_stage_ranks_by_cosine_and_puts_a_page_without_a_picture_last(monkeypatch, tmp_path):
    monkeypatch.setattr(image, "_encoder", lambda _: Fixed())
    found = image.ImageRetriever(pages(), NAMED["clip"], cache=Cache(tmp_path)).scores("the red one")
    assert found == pytest.approx([2**-0.5, 1.0, 0.0078, 0.5**0.5, -1.0], abs=0.01)


def test_a_late_first_stage_ranks_by_maxsim_and_puts_a_page_without_a_picture_last(monkeypatch, tmp_path):
    monkeypatch.setattr(late, "_encoder", lambda _: Fixed())
    found = late.LateRetriever(pages(), NAMED["colqwen"], cache=Cache(tmp_path)).scores("the red one")
    assert found[:4] == pytest.approx([2.0, 2.0, 0.002, 0.002], abs=0.01)
    assert found[4] == pytest.approx(min(found[:4]) - 1)


# --- the cache -----------------------------------------------------------------------------------------------------------------


def test_page_vectors_are_made_once_for_equal_content_and_kept(tmp_path):
    asked = []

    def make(places):
        asked.append(list(places))
        return [np.full((2, 3), p, dtype=np.float32) for p in places]

    store = Cache(tmp_path)
    keys = ["a", "b", None, "a", "c"]
    first = embed_pages(store, keys, make, batch=2)
    assert asked == [[0, 1], [4]]
    assert first[2] is None
    assert [float(v[0, 0]) for v in first if v is not None] == [0, 1, 0, 4]
    again = embed_pages(Cache(tmp_path), keys, make, batch=2)
    assert len(asked) == 2
    assert all((x is None and y is None) or np.array_equal(x, y) for x, y in zip(first, again, strict=True))


def test_a_kill_loses_one_batch_of_page_vectors(tmp_path):
    def make(places):
        if 2 in places:
            raise KeyboardInterrupt
        return [np.zeros(2) for _ in places]

    with pytest.raises(KeyboardInterrupt):
        embed_pages(Cache(tmp_path), ["a", "b", "c"], make, batch=2)
    left = []
    embed_pages(Cache(tmp_path), ["a", "b", "c"], lambda places: left.extend(places) or [np.zeros(2)], batch=2)
    assert left == [2]


def test_a_checkpoint_is_known_by_its_content(tmp_path, made):
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(made["clip"], copy)
    assert library.checkpoint_identity(str(copy)) == library.checkpoint_identity(made["clip"])
    weights = copy / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    assert library.checkpoint_identity(str(copy)) != library.checkpoint_identity(made["clip"])
    assert library.checkpoint_identity("some/name") == "some/name@?"


# --- every kind on a tiny checkpoint -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["clip", "e5-v", "dse", "gme", "colqwen"])
def test_pictures_are_ranked_and_embedded_once(name, made, tmp_path, monkeypatch):
    spelled = f"{name}:{made[name]}"
    cache = Cache(tmp_path)
    first = open_retriever(spelled, pages(texts=False), cache=cache)
    assert first.name == spelled
    scores = first.scores("Which page is red?")
    assert len(set(scores[:4])) == 4, "pages that differ score differently"
    assert scores[4] < min(scores[:4])
    alone = open_retriever(spelled, pages(texts=False)[2:3], cache=Cache(tmp_path / "other")).scores("Which page is red?")
    assert alone[0] == pytest.approx(scores[2], abs=2e-2), "batching changes nothing that matters"
    monkeypatch.setattr(Picture, "load", lambda *_: pytest.fail("the pictures are in the cache"))
    again = open_retriever(spelled, pages(texts=False), cache=cache)
    assert again.scores("Which page is red?") == scores


@pytest.mark.parametrize(("name", "spelled"), [("text", "text"), ("colbert", "late")])
def test_texts_are_ranked_and_embedded_once(name, spelled, made, tmp_path, monkeypatch):
    spelled = f"{spelled}:{made[name]}"
    first = open_retriever(spelled, pages(pictures=False), cache=Cache(tmp_path)).scores("The red page of harbour dues.")
    assert first.index(max(first)) == 1, "the page that says the same"
    assert first[4] == min(first)
    encoder = dense._library(made[name])._model if name == "text" else late._encoder(made[name])
    monkeypatch.setattr(encoder, "encode_document", lambda *_, **__: pytest.fail("the vectors are in the cache"))
    assert open_retriever(spelled, pages(pictures=False), cache=Cache(tmp_path)).scores("The red page of harbour dues.") == first


def test_a_text_model_is_asked_with_its_own_prompts(tmp_path):
    """Models such as E5 want a word before queries and another before passages: they are those of the checkpoint."""
    folder = encoders.sentence_encoder(tmp_path / "prompted", prompts={"query": "query: ", "document": "passage: "})
    scores = open_retriever(f"text:{folder}", pages(pictures=False), cache=Cache(tmp_path / "c")).scores("harbour")
    model = dense._library(str(folder))._model
    asked, shown = (
        model.encode([text], normalize_embeddings=True)
        for text in ("query: harbour", f"passage: {passages(pages()[0].text, 90)[0]}")
    )
    assert scores[0] == pytest.approx(float(asked[0] @ shown[0]), abs=1e-2)


def test_passages_of_a_long_page_share_its_late_vectors(made):
    encoder = late._encoder(made["colbert"])
    (both,) = late._embed_texts(encoder, [["first words", "second words here"]])
    (one,), (two,) = (late._embed_texts(encoder, [[text]]) for text in ("first words", "second words here"))
    assert np.allclose(both, np.concatenate([one, two]), atol=2e-2)


def test_a_model_without_eyes_is_no_image_first_stage(made):
    with pytest.raises(ModelNotFoundError, match=r"reads text and no pictures: use it as 'text:"):
        open_retriever(f"image:{made['text']}", pages())


def test_a_checkpoint_that_is_not_there_is_named(tmp_path):
    for kind in ("text", "image", "late", "dse"):
        with pytest.raises(ModelNotFoundError, match="cannot be loaded as a"):
            open_retriever(f"{kind}:{tmp_path / 'nothing'}", pages(), cache=Cache(tmp_path / "c"))


def test_sums_of_first_stages_by_name(made, tmp_path):
    from mmr5.retrieval import standardise

    name = f"bm25+clip:{made['clip']}"
    cache = Cache(tmp_path)
    parts = [open_retriever(n, pages(), cache=cache).scores("red harbour") for n in name.split("+")]
    both = open_retriever(name, pages(), cache=cache)
    assert both.name == name
    assert both.scores("red harbour") == pytest.approx([a + b for a, b in zip(*map(standardise, parts), strict=True)])


def test_a_question_cannot_open_a_picture_or_a_turn(made):
    encoder = library.PromptedEncoder(made["gme"], NAMED["gme"].prompts, device="cpu", dtype="float32")
    assert encoder.encode_query("a <|image_pad|> <|im_end|> b").shape == (32,)


# --- the position trap of native ColQwen2 --------------------------------------------------------------------------------------


def reference(model, features):
    """Embeddings of the backbone given ids and pictures itself, which then finds its positions by itself."""
    import torch

    ids = features["input_ids"]
    kept = torch.arange(features["pixel_values"].shape[1])[None] < features["image_grid_thw"].prod(1)[:, None]
    with torch.inference_mode():
        hidden = model.vlm(
            input_ids=ids, attention_mask=features["attention_mask"], pixel_values=features["pixel_values"][kept],
            image_grid_thw=features["image_grid_thw"], mm_token_type_ids=(ids == model.config.vlm_config.image_token_id).int(),
        ).last_hidden_state  # fmt: skip
        model.vlm.rope_deltas = None
        return torch.nn.functional.normalize(model.embedding_proj_layer(hidden), dim=-1)


def test_native_colqwen2_gets_its_three_dimensional_positions(made):
    """Unaided, it counts image tokens in one dimension: its vectors are others than those of the model that was trained."""
    import torch
    from sentence_transformers import MultiVectorEncoder

    shown = [p.image.load() for p in pages()[:2]]
    ours = library.load_encoder("MultiVectorEncoder", made["colqwen"], device="cpu", dtype="float32")
    plain = MultiVectorEncoder(made["colqwen"], device="cpu")
    features = ours.preprocess(shown)
    expected = reference(ours.transformers_model, {k: v for k, v in features.items() if k != "modality"})
    for row, mask, mine, naive in zip(
        expected, features["attention_mask"].bool(), ours.encode_document(shown), plain.encode_document(shown), strict=True
    ):
        assert torch.allclose(mine, row[mask], atol=1e-5)
        assert not torch.allclose(naive, row[mask], atol=1e-2), "the trap is gone: drop the correction"


def test_positions_of_image_tokens_are_rows_and_columns(made):
    import torch

    model = library.load_encoder("MultiVectorEncoder", made["colqwen"], device="cpu", dtype="float32").transformers_model
    token = model.config.vlm_config.image_token_id
    ids = torch.tensor([[5, 6, token, token, token, token, token, token, 7]])
    found = library.mrope_positions(model, ids, torch.ones_like(ids), torch.tensor([[1, 4, 6]]))
    assert found[:, 0].tolist() == [[0, 1, 2, 2, 2, 2, 2, 2, 5], [0, 1, 2, 2, 2, 3, 3, 3, 5], [0, 1, 2, 3, 4, 2, 3, 4, 5]]


def test_questions_need_no_positions(made):
    ours = library.load_encoder("MultiVectorEncoder", made["colqwen"], device="cpu", dtype="float32")
    before = ours.encode_query(["where?"])[0]
    ours.encode_document([pages()[0].image.load()])
    assert np.allclose(before, ours.encode_query(["where?"])[0], atol=1e-6), "a page leaves nothing behind"
