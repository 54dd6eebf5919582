"""Checkpoints → models in memory: device, dtype, attention and processor chosen by what is there."""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import pickle
import time
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmr5.errors import ConfigError, MMR5Error, ModelNotFoundError, missing_extra
from mmr5.storage.atomic import staged_folder

if TYPE_CHECKING:
    import torch

PIL_PROCESSORS = {
    "qwen2_vl": ("transformers.models.qwen2_vl.processing_qwen2_vl", "Qwen2VLProcessor"),
    "qwen2_5_vl": ("transformers.models.qwen2_5_vl.processing_qwen2_5_vl", "Qwen2_5_VLProcessor"),
    "qwen3_vl": ("transformers.models.qwen3_vl.processing_qwen3_vl", "Qwen3VLProcessor"),
}
"""Model types whose processor works without torchvision once it is built from the PIL image processor and no video processor."""

MODEL_ERRORS = (OSError, ValueError, KeyError, AttributeError, ImportError, RuntimeError, pickle.UnpicklingError)
"""What the libraries raise when a checkpoint is missing, broken, or of another kind."""
TRUST = "MMR5_TRUST_REMOTE_CODE"
"""Environment variable; ``1`` lets code run that a checkpoint brings along."""
DTYPES = ("auto", "float32", "bfloat16", "float16")
PROBE_GAIN = 1.3
"""bfloat16 is taken on a CPU when its matrix product is at least this many times faster than float32's."""


def import_torch() -> Any:
    """The ``torch`` module.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import torch
    except ImportError as error:
        raise missing_extra("torch", "local", "run a model on this machine") from error
    return torch


def import_transformers() -> Any:
    """The ``transformers`` module, its progress bars and advice silenced.

    Raises:
        MissingExtraError: it is not installed.
    """
    import_torch()
    try:
        import transformers
    except ImportError as error:
        raise missing_extra("transformers", "local", "run a model on this machine") from error
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    return transformers


def trusts_code() -> bool:
    """Whether code that a checkpoint brings along may run: only where :data:`TRUST` is 1; nobody is asked at a terminal."""
    return os.environ.get(TRUST) == "1"


@contextlib.contextmanager
def load_errors(path: str, kind: str) -> Iterator[None]:
    """While a checkpoint is loaded, turn what the libraries raise into an error that names the way out.

    Args:
        path: of the checkpoint.
        kind: what it is to be, e.g. ``"model"``.

    Raises:
        ModelNotFoundError: it is missing, damaged, of another kind, or could run code of its own.
    """
    from safetensors import SafetensorError

    try:
        yield
    except MMR5Error:
        raise
    except (*MODEL_ERRORS, SafetensorError) as error:
        raise ModelNotFoundError(f"{path!r} cannot be loaded as a {kind}: {_way_out(error)}") from error


def _way_out(error: BaseException) -> str:
    said = str(error)
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    first = (lines[0] if lines else type(error).__name__)[:300]
    if isinstance(error, pickle.UnpicklingError) or "upgrade torch" in said:
        return (
            "its weights are pickled and hold more than tensors, or are damaged; a pickle can run code, so it was not opened. "
            "Take a checkpoint with model.safetensors, or convert it where you trust it: load it with transformers and "
            "save_pretrained() it"
        )
    if "trust_remote_code" in said or "custom code" in said:
        return f"it brings code of its own, which is run only where {TRUST}=1 is set. Set it if you trust that code"
    if "SafetensorError" in type(error).__name__:
        return f"its weights are damaged ({first}): fetch them again"
    if "torchvision" in said.lower():
        return f"{first} Run: pip install torchvision (of the same build as torch)"
    return (
        f"{first} Give 'mini', a folder with a checkpoint, or a name on the Hugging Face hub (which needs a network, or a copy "
        "in the hub's cache)"
    )


def pick_device(device: str = "auto") -> torch.device:
    """``auto`` is CUDA where there is a card, else Apple's MPS, else the CPU."""
    torch = import_torch()
    if device != "auto":
        try:
            return torch.device(device)  # type: ignore[no-any-return]
        except RuntimeError as error:
            raise ConfigError(f"device {device!r} is not known to torch: use auto, cpu, cuda, cuda:0 or mps") from error
    if torch.cuda.is_available():
        return torch.device("cuda")  # type: ignore[no-any-return]
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")  # type: ignore[no-any-return]


@cache
def cpu_matmul_seconds(dtype: str, rows: int = 512, width: int = 1024) -> float:
    """Best of five timings of a (rows, width) by (width, width) matrix product on this CPU, in seconds."""
    torch = import_torch()
    kind = getattr(torch, dtype)
    a, b = torch.ones(rows, width, dtype=kind), torch.ones(width, width, dtype=kind)
    best = float("inf")
    for _ in range(6):
        start = time.perf_counter()
        torch.matmul(a, b)
        best = min(best, time.perf_counter() - start)
    return best


def pick_dtype(dtype: str, device: torch.device) -> torch.dtype:
    """The dtype to compute in.

    ``auto`` is bfloat16 on a card that has it (else float16), float32 on MPS, and on a CPU whichever a short probe shows to be
    faster: bfloat16 with AMX or AVX512-BF16, float32 elsewhere.

    Raises:
        ConfigError: an unknown dtype.
    """
    torch = import_torch()
    if dtype not in DTYPES:
        raise ConfigError(f"dtype {dtype!r} is unknown: use one of {', '.join(DTYPES)}")
    if dtype != "auto":
        return getattr(torch, dtype)  # type: ignore[no-any-return]
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16  # type: ignore[no-any-return]
    if device.type == "cpu" and cpu_matmul_seconds("float32") > PROBE_GAIN * cpu_matmul_seconds("bfloat16"):
        return torch.bfloat16  # type: ignore[no-any-return]
    return torch.float32  # type: ignore[no-any-return]


def pick_attention(attention: str, device: torch.device, dtype: torch.dtype) -> str:
    """``auto`` is FlashAttention 2 where it is installed and can run, else PyTorch's own scaled-dot-product attention."""
    transformers, torch = import_transformers(), import_torch()
    if attention != "auto":
        return attention
    half = dtype in (torch.float16, torch.bfloat16)
    if device.type == "cuda" and half and transformers.utils.is_flash_attn_2_available():
        return "flash_attention_2"
    return "sdpa"


def load_model(
    path: str, *, device: torch.device, dtype: torch.dtype, attention: str, adapter: str | None = None
) -> tuple[Any, Any]:
    """Load a text or vision-language checkpoint, merge an adapter into it, and load its tokenizer or processor.

    Args:
        path: a folder, or a name on the Hugging Face hub. A folder that holds a LoRA adapter alone names its base itself.
        device: where the weights go.
        dtype: what they are computed in.
        attention: transformers' name of the attention implementation, ``auto`` to choose.
        adapter: folder or name of a LoRA adapter for ``path``.

    Returns:
        ``(model, processor)`` where processor is a plain tokenizer for a text checkpoint.

    Raises:
        ModelNotFoundError: there is no such checkpoint, or it is of a kind that cannot write text.
    """
    transformers = import_transformers()
    folder = Path(path)
    if folder.is_dir() and (folder / "adapter_config.json").exists() and not (folder / "config.json").exists():
        base = _adapter_base(folder)
        return load_model(base, device=device, dtype=dtype, attention=attention, adapter=str(folder))
    with load_errors(path, "model"):
        _, processor = load_prompting(path)
        seeing = hasattr(processor, "image_processor")
        loader = transformers.AutoModelForImageTextToText if seeing else transformers.AutoModelForCausalLM
        chosen = pick_attention(attention, device, dtype)
        model = loader.from_pretrained(path, dtype=dtype, attn_implementation=chosen, trust_remote_code=trusts_code())
    if adapter is not None:
        model = merge_adapter(model, adapter)
    return model.to(device).eval(), processor


def dequantise(gguf: str, target: str, *, lock: AbstractContextManager[object]) -> None:
    """Turn a quantised file into a bfloat16 checkpoint with its tokenizer, once and atomically; it then loads in 0.3 s.

    Args:
        gguf: path of the GGUF file.
        target: folder to make; nothing is done when it is there.
        lock: keeps other processes from doing the same.
    """
    transformers, torch = import_transformers(), import_torch()
    source, folder = Path(gguf), Path(target)
    with lock:
        if (folder / "config.json").is_file():
            return
        with staged_folder(folder) as staging:
            with contextlib.redirect_stderr(io.StringIO()):  # a progress bar that no setting of transformers turns off
                model = transformers.AutoModelForCausalLM.from_pretrained(
                    source.parent,
                    gguf_file=source.name,
                    quantization_config=transformers.GgufConfig(dequantize=True),
                    dtype=torch.bfloat16,
                )
            model.save_pretrained(staging)
            transformers.AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name).save_pretrained(staging)


def merge_adapter(model: Any, adapter: str) -> Any:
    """Merge a LoRA adapter into a model's weights, in float32 where the model is in half precision.

    Raises:
        MissingExtraError: peft is not installed.
        ModelNotFoundError: there is no such adapter, or it does not fit the model.
    """
    try:
        import peft
    except ImportError as error:
        raise missing_extra("peft", "local", f"load the adapter {adapter!r}") from error
    with load_errors(adapter, "LoRA adapter of its base"), warnings.catch_warnings():
        # peft asks transformers under an old name
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        return peft.PeftModel.from_pretrained(model, adapter).merge_and_unload()


def load_prompting(path: str) -> tuple[Any, Any]:
    """A checkpoint's configuration, and its processor where it sees, else its tokenizer; its weights are not read.

    Call it within :func:`load_errors`.
    """
    transformers = import_transformers()
    config = transformers.AutoConfig.from_pretrained(path, trust_remote_code=trusts_code())
    if type(config) in transformers.models.auto.modeling_auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING:
        return config, load_processor(path, trust_remote_code=trusts_code())
    return config, transformers.AutoTokenizer.from_pretrained(path, trust_remote_code=trusts_code())


def load_processor(path: str, **options: Any) -> Any:
    """A checkpoint's processor, with or without torchvision.

    Where torchvision is missing or broken, the Qwen-VL family's processor is built from its PIL image processor, without a
    video processor (page images need none). Call it within :func:`load_errors`.

    Args:
        path: a folder, or a name on the hub.
        options: for transformers' ``from_pretrained``.
    """
    transformers = import_transformers()
    try:
        return transformers.AutoProcessor.from_pretrained(path, **options)
    except MODEL_ERRORS as error:
        if transformers.utils.is_torchvision_available():
            raise
        try:
            kind = transformers.AutoConfig.from_pretrained(path).model_type
        except MODEL_ERRORS:
            raise error from None
        if kind not in PIL_PROCESSORS:
            raise
    pil = importlib.import_module("transformers.models.qwen2_vl.image_processing_pil_qwen2_vl").Qwen2VLImageProcessorPil
    tokenizer = transformers.AutoTokenizer.from_pretrained(path, **options)
    template = getattr(tokenizer, "chat_template", None) or _chat_template(Path(path))
    return pil_processor(kind, pil.from_pretrained(path, **options), tokenizer, template)


def pil_processor(model_type: str, image_processor: Any, tokenizer: Any, chat_template: str | None) -> Any:
    """A Qwen-VL processor that holds no video processor."""
    module, name = PIL_PROCESSORS[model_type]
    parent: Any = getattr(importlib.import_module(module), name)

    def init(self: Any, image_processor: Any = None, tokenizer: Any = None, chat_template: str | None = None) -> None:
        parent.__init__(self, image_processor, tokenizer, None, chat_template=chat_template)

    kind = type(name, (parent,), {"__init__": init, "__module__": __name__, "check_argument_for_proper_class": _accept})
    return kind(image_processor, tokenizer, chat_template=chat_template)


def _accept(self: Any, argument_name: str, argument: Any) -> Any:
    """Any image processor and tokenizer will do, and no video processor."""
    return type(argument)


def _chat_template(folder: Path) -> str | None:
    for name in ("chat_template.jinja", "chat_template.json"):
        file = folder / name
        if file.is_file():
            text = file.read_text(encoding="utf-8")
            return text if name.endswith(".jinja") else str(json.loads(text)["chat_template"])
    return None


def _adapter_base(folder: Path) -> str:
    with load_errors(str(folder), "LoRA adapter"):
        base = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8")).get("base_model_name_or_path")
    if not base:
        raise ModelNotFoundError(
            f"{folder} holds an adapter that does not name its base: give the base with adapter={str(folder)!r}"
        )
    return str(base)
