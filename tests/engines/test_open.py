"""One door to all engines: what is loaded, with what, and what is refused."""

import subprocess
import sys

import pytest

from mmr5.engines import open_engine
from mmr5.engines.openai.engine import OpenAIEngine
from mmr5.engines.scripted import ScriptedEngine
from mmr5.engines.transformers import TransformersEngine
from mmr5.errors import ConfigError, ModelNotFoundError
from mmr5.models import Recipe
from mmr5.pages import DEFAULT_MAX_PIXELS
from mmr5.settings import ENGINES


def test_a_folder_is_opened_with_its_recipe(tiny_text):
    (tiny_text / "recipe.json").write_text(Recipe(method="direct", view="text", max_pixels=50_176).to_json())
    told = []
    try:
        engine, checkpoint = open_engine(str(tiny_text), dtype="float32", device="cpu", progress=lambda *p: told.append(p))
        served, same = open_engine(str(tiny_text), "openai", "http://localhost:1")
        other, _ = open_engine(str(tiny_text), dtype="float32", device="cpu", max_pixels=784, batch_tokens=None)
    finally:
        (tiny_text / "recipe.json").unlink()
    assert isinstance(engine, TransformersEngine)
    assert (engine.model, engine.max_pixels, checkpoint.recipe.method) == (tiny_text.name, 50_176, "direct")
    assert other.max_pixels == 784
    assert told == [(f"loading {tiny_text.name}", 0, None)]
    assert same.recipe == checkpoint.recipe
    assert served.capabilities.prefill, "the folder's own tokenizer is used"
    assert served._handover._encoder._max_pixels == 50_176


def test_a_served_name_has_a_recipe_where_it_is_known():
    engine, checkpoint = open_engine("i2vec/MM-R5", "openai", "http://localhost:1", retries=0, timeout_s=3)
    assert isinstance(engine, OpenAIEngine)
    assert (checkpoint.recipe.method, engine._retries, engine._timeout) == ("reason", 0, 3)
    assert engine._handover._encoder._max_pixels == DEFAULT_MAX_PIXELS


def test_a_dry_run_needs_no_model():
    engine, checkpoint = open_engine("nothing/there", "scripted")
    assert isinstance(engine, ScriptedEngine)
    assert checkpoint is None


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        (("mini", "magic"), ConfigError, f"engine 'magic' is unknown: use one of {', '.join(ENGINES)}"),
        (("mini", "scripted", "http://x"), ConfigError, "base_url is 'http://x' with engine 'scripted'"),
        (("m", "openai"), ConfigError, "needs the address of the server of 'm'"),
        (("./nothing",), ModelNotFoundError, "no model './nothing'"),
        (("./nothing", "cross-encoder"), ModelNotFoundError, "no model './nothing'"),
    ],
)
def test_what_cannot_be_opened_is_refused_before_anything_is_loaded(given, error, said):
    with pytest.raises(error) as caught:
        open_engine(*given)
    assert said in str(caught.value)


def test_the_door_is_light():
    code = "import sys; from mmr5.engines import open_engine; open_engine('m', 'scripted'); print('torch' in sys.modules, 'httpx' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.split()[0] == "False"
    import mmr5.engines

    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        mmr5.engines.nothing  # noqa: B018
