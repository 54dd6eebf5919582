"""A late-interaction model: its scores, what it keeps, and what it refuses."""

import json

import pytest
import torch
from safetensors.torch import save_file

from mmr5 import Reranker
from mmr5.engines import open_engine
from mmr5.engines.late_interaction import LateInteractionEngine
from mmr5.engines.runtime.late_features import FEATURES, features
from mmr5.engines.runtime.late_head import LateHead, PageTokens
from mmr5.engines.runtime.text_encoder import TextEncoder
from mmr5.errors import CapabilityError, ConfigError, ModelNotFoundError
from mmr5.excerpts import passages
from mmr5.models import Recipe
from mmr5.models.late import LateConfig, is_late
from mmr5.storage.cache import Cache
from mmr5.types import Candidates, Page, ScoreKind
from support.encoders import sentence_encoder

TEXTS = [
    "The kettle is on the stove. " * 9,
    "A ladder leans on the wall.",
    "",
    "Nothing to see here, said the keeper of the light.",
]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A folder with an untrained model over a tiny encoder."""
    home = tmp_path_factory.mktemp("late")
    base = sentence_encoder(home / "base", prompts={"query": "query: ", "document": "passage: "})
    states = TextEncoder(base, dtype="float32").states(TEXTS[:2], layer=1)
    folder = home / "model"
    folder.mkdir()
    head = LateHead.untrained(torch.cat(states), 16)
    head.weights["features"] = torch.tensor([0.1, 0.5, -0.5])
    save_file({name: value.contiguous() for name, value in head.weights.items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(LateConfig(base=str(base), layer=1, dimension=16, passage_words=6).to_json())
    (folder / "recipe.json").write_text(Recipe(method="late-interaction", view="text", fusion=0.5, notes=0).to_json())
    return folder


def candidates(question="Where is the kettle?", texts=TEXTS):
    return Candidates(question, tuple(Page("d", i + 1, text=text) for i, text in enumerate(texts)))


def test_a_score_does_not_depend_on_company_order_or_batch(model):
    reranker = Reranker.from_pretrained(str(model))
    [whole] = reranker.rank_many([candidates()])
    assert whole.score_kind is ScoreKind.RELEVANCE_LOG_ODDS
    for i, text in enumerate(TEXTS):
        [alone] = reranker.rank_many([candidates(texts=[text])])
        assert alone.scores[0] == pytest.approx(whole.scores[i], abs=0.01)
    turned, other = reranker.rank_many([candidates(texts=TEXTS[::-1]), candidates("What leans?")])
    assert turned.scores[::-1] == pytest.approx(whole.scores, abs=0.01)
    assert other.scores != whole.scores


def test_the_score_is_the_formula(model):
    """By hand: the average best match over the page and over its best passage, and the features."""
    engine = LateInteractionEngine(str(model), dtype="float32")
    [found] = engine.score_tokens(["Where is the kettle?"], [TEXTS[:1]])
    head, encoder = engine._loaded.head, engine._loaded.encoder
    question = head.question(encoder.states(["Where is the kettle?"], "query", layer=1)[0])
    parts = [head.page(one).half().float() for one in encoder.states(passages(TEXTS[0], 6), layer=1)]
    best = [float(question.importance @ (question.vectors @ part.T).amax(1)) for part in parts]
    over_page = float(question.importance @ (question.vectors @ torch.cat(parts).T).amax(1))
    tokens = sum(map(len, parts))
    given = features("Where is the kettle?", TEXTS[0], tokens)
    expected = 8 * over_page + 4 * max(best) + 0.1 * given[0] + 0.5 * given[1] - 0.5 * given[2]
    assert found.log_odds[0] == pytest.approx(expected, abs=1e-3)
    assert float(question.importance.sum()) == pytest.approx(1.0)
    assert found.usage.prompt_tokens == tokens + len(question.importance)


def test_matches_are_the_cosines_of_tokens_that_stand_where_they_say(model):
    engine = LateInteractionEngine(str(model), dtype="float32")
    head, encoder = engine._loaded.head, engine._loaded.encoder
    [matches, none] = engine.matches("Where is the kettle?", [TEXTS[0], " "])
    assert none is None
    question = head.question(encoder.states(["Where is the kettle?"], "query", layer=1)[0])
    parts = passages(TEXTS[0], 6)
    page = torch.cat([head.page(one).half().float() for one in encoder.states(parts, layer=1)])
    assert torch.from_numpy(matches.cosines).allclose(question.vectors @ page.T, atol=1e-3)
    assert matches.importance == pytest.approx(question.importance.numpy())
    assert len(matches.spans) == len(page)
    assert "".join("".join(TEXTS[0][a:b] for a, b in matches.spans).split()) == "".join(TEXTS[0].split())


def test_a_page_is_encoded_once(model, tmp_path, monkeypatch):
    store = Cache(root=tmp_path / "store")
    engine = LateInteractionEngine(str(model), cache=store)
    [first] = engine.score_tokens(["Where is the kettle?"], [TEXTS])
    encode, heard = TextEncoder.states, []

    def listening(self, texts, kind="document", *rest, **options):
        heard.append((kind, len(texts)))
        return encode(self, texts, kind, *rest, **options)

    monkeypatch.setattr(TextEncoder, "states", listening)
    [again] = engine.score_tokens(["Where is the kettle?"], [TEXTS])
    [kept] = LateInteractionEngine(str(model), cache=store).score_tokens(["Where is the kettle?"], [TEXTS])
    assert again == first == kept
    recipe = (model / "recipe.json").read_text()
    (model / "recipe.json").write_text(recipe.replace("0.5", "0.6"))  # as mmr5 calibrate writes into it
    [still] = LateInteractionEngine(str(model), cache=store).score_tokens(["Where is the kettle?"], [TEXTS])
    (model / "recipe.json").write_text(recipe)
    assert still == first
    assert heard == [("document", 0), ("query", 1)] * 3


@pytest.mark.parametrize("question", [" ", "\u200b", "?"])
def test_a_question_of_signs_alone_has_finite_scores(model, question):
    engine = LateInteractionEngine(str(model))
    [found] = engine.score_tokens([question], [TEXTS])
    assert all(map(torch.isfinite, torch.tensor(found.log_odds)))
    assert len(found.log_odds) == len(TEXTS)


def test_no_pages_and_pages_without_text(model):
    engine = LateInteractionEngine(str(model))
    assert engine.score_tokens([], []) == []
    [none] = engine.score_tokens(["Where?"], [[]])
    assert none.log_odds == ()
    [empty] = engine.score_tokens(["Where?"], [["", "  \n"]])
    assert empty.log_odds[0] == empty.log_odds[1]


def test_a_long_passage_is_cut_where_the_model_ends(model):
    engine = LateInteractionEngine(str(model))
    [found] = engine.score_tokens(["Where is the kettle?"], [["kettle" * 2000]])
    assert all(map(torch.isfinite, torch.tensor(found.log_odds)))


def test_it_writes_nothing_and_sees_nothing(model):
    engine, checkpoint = open_engine(str(model))
    assert isinstance(engine, LateInteractionEngine)
    assert checkpoint.recipe.method == "late-interaction"
    for call in (engine.generate, engine.score_choices, engine.score_text):
        with pytest.raises(CapabilityError, match="use method 'late-interaction', or another model"):
            call([], [])
    with pytest.raises(CapabilityError, match="images"):
        Reranker.from_pretrained(str(model), view="image").rank_many([candidates()])
    with pytest.raises(CapabilityError, match="score_choices"):
        Reranker.from_pretrained(str(model), method="pointwise").rank_many([candidates()])
    with pytest.raises(ConfigError, match="page 1 has none"):
        Reranker.from_pretrained(str(model)).rank_many([Candidates("Where?", (Page("d"),))])
    with pytest.raises(ConfigError, match="engine 'vllm' is for language models"):
        open_engine(str(model), "vllm")
    with pytest.raises(ConfigError, match="quantize '4bit' is for language models"):
        open_engine(str(model), quantize="4bit")
    assert engine.count_tokens("kettle") == 6


def test_a_model_without_a_recipe_has_its_method(model):
    engine = LateInteractionEngine(str(model))
    assert Reranker(engine).method == "late-interaction"
    assert Reranker(engine).fingerprint == "none"


def test_what_is_no_such_model_is_refused(model, tmp_path):
    def with_config(**values):
        (tmp_path / "config.json").write_text(json.dumps({**json.loads((model / "config.json").read_text()), **values}))
        return tmp_path

    assert not is_late(tmp_path)
    with pytest.raises(ModelNotFoundError, match="holds no late-interaction model"):
        LateInteractionEngine(str(tmp_path))
    with pytest.raises(ConfigError, match="layer is 'eight': it is of kind int"):
        LateConfig.read(with_config(layer="eight"))
    with pytest.raises(ConfigError, match="colour"):
        LateConfig.read(with_config(colour=1))
    with pytest.raises(ModelNotFoundError):
        LateInteractionEngine(str(with_config(base=str(tmp_path / "nowhere"))))
    (tmp_path / "config.json").write_text((model / "config.json").read_text().replace('"layer": 1', '"layer": 3'))
    with pytest.raises(ModelNotFoundError, match="layer is 3"):
        LateInteractionEngine(str(tmp_path))
    weights = LateHead.untrained(torch.randn(200, 24), 16).weights
    (tmp_path / "config.json").write_text((model / "config.json").read_text())
    save_file({name: value.contiguous() for name, value in weights.items()}, tmp_path / "model.safetensors")
    with pytest.raises(ModelNotFoundError, match="made for states of 24 numbers"):
        LateInteractionEngine(str(tmp_path))
    with pytest.raises(ModelNotFoundError, match="weight scales has shape"):
        LateHead({**weights, "scales": torch.zeros(3)})
    with pytest.raises(ModelNotFoundError, match="a late-interaction model has"):
        LateHead({"page.weight": torch.zeros(2, 2)})


def test_an_untrained_head_keeps_cosines():
    """With as many components as the states have, a match is the cosine of the centred states."""
    states = torch.randn(400, 8, generator=torch.Generator().manual_seed(0)) + 3
    head = LateHead.untrained(states, 8)
    question, page = head.question(states[:3]), head.page(states[10:20])
    centred = torch.nn.functional.normalize(states - states.mean(0), dim=-1)
    torch.testing.assert_close(question.vectors @ page.T, centred[:3] @ centred[10:20].T, atol=1e-4, rtol=0)
    scores = head.score(question, [PageTokens(page, (4, 6)), PageTokens(page[:0], ())], torch.zeros(2, len(FEATURES)))
    best = (centred[:3] @ centred[10:20].T).amax(1).mean()
    halves = torch.stack([(centred[:3] @ centred[a:b].T).amax(1).mean() for a, b in ((10, 14), (14, 20))])
    torch.testing.assert_close(scores.pages, torch.stack([8 * best + 4 * halves.max(), torch.tensor(0.0)]), atol=1e-3, rtol=0)
    assert scores.owners.tolist() == [0, 0]


def test_features():
    assert features("Who?", "", 0) == (-6.0, 0.0, 0.0)
    length, numbers, leaders = features(
        "What did 3 boats pay in 2024 and 2025?", "In 2024 12,5 crowns\n\nFees ..... 12\nIndex 2025", 402
    )
    assert length == pytest.approx(-0.001, abs=0.01)
    assert numbers == pytest.approx(2 / 3)
    assert leaders == pytest.approx(1 / 3)
    assert features("12,5 crowns", "12,5", 1)[1] == 1.0
