"""Checkpoints → models in memory: device, dtype, attention and processor chosen by what is there."""

from __future__ import annotations

import contextlib
import inspect
import io
import json
import os
import pickle
import warnings
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmr5.errors import ConfigError, MMR5Error, ModelNotFoundError, missing_extra
from mmr5.storage.atomic import staged_folder

if TYPE_CHECKING:
    import torch

MODEL_ERRORS = (OSError, ValueError, KeyError, AttributeError, ImportError, RuntimeError, pickle.UnpicklingError)
"""What the libraries raise when a checkpoint is missing, broken, or of another kind."""
TRUST = "MMR5_TRUST_REMOTE_CODE"
"""Environment variable; ``1`` lets code run that a checkpoint brings along."""
DTYPES = ("auto", "float32", "bfloat16", "float16")
QUANTIZE = ("none", "8bit", "4bit")
BF16_FEATURES = ("amx_bf16", "avx512_bf16")
"""Features of an x86 processor that multiply bfloat16, by their names in Linux's list of flags."""


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
    """``auto`` is CUDA where there is a card, else the CPU; Apple's MPS is used where it is asked for by name."""
    torch = import_torch()
    if device != "auto":
        try:
            return torch.device(device)  # type: ignore[no-any-return]
        except RuntimeError as error:
            raise ConfigError(f"device {device!r} is not known to torch: use auto, cpu, cuda, cuda:0 or mps") from error
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")  # type: ignore[no-any-return]


@cache
def bf16_features() -> tuple[str, ...]:
    """Those of :data:`BF16_FEATURES` that this machine's processor has; none where it does not say (other systems than Linux)."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ()
    flags = set(next((line.partition(":")[2].split() for line in lines if line.startswith("flags")), []))
    return tuple(name for name in BF16_FEATURES if name in flags)


def pick_dtype(dtype: str, device: torch.device) -> torch.dtype:
    """The dtype to compute in.

    ``auto`` is bfloat16 on a card that has it (else float16), float32 on MPS, and on a CPU bfloat16 where the processor
    multiplies it (:func:`bf16_features`), else float32. The same machine always gives the same answer.

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
    return torch.bfloat16 if device.type == "cpu" and bf16_features() else torch.float32  # type: ignore[no-any-return]


def dtype_name(dtype: torch.dtype) -> str:
    """A dtype as flags and results spell it, e.g. ``"bfloat16"``."""
    return str(dtype).removeprefix("torch.")


def pick_attention(attention: str, device: torch.device, dtype: torch.dtype) -> str:
    """``auto`` is FlashAttention 2 where it is installed and can run, else PyTorch's own scaled-dot-product attention."""
    transformers, torch = import_transformers(), import_torch()
    if attention != "auto":
        return attention
    half = dtype in (torch.float16, torch.bfloat16)
    if device.type == "cuda" and half and transformers.utils.is_flash_attn_2_available():
        return "flash_attention_2"
    return "sdpa"


def quantisation(quantize: str, device: torch.device, dtype: torch.dtype) -> Any:
    """Transformers' settings that load weights in 8 or 4 bits by bitsandbytes (NF4, products in ``dtype``); None for ``none``.

    Raises:
        ConfigError: an unknown word, or a device that is no GPU.
        MissingExtraError: bitsandbytes is not installed.
    """
    if quantize not in QUANTIZE:
        raise ConfigError(f"quantize is {quantize!r}: use one of {', '.join(QUANTIZE)}")
    if quantize == "none":
        return None
    if device.type != "cuda":
        raise ConfigError(f"quantize is {quantize!r} on device {device}: it needs a CUDA GPU; leave it out")
    transformers = import_transformers()
    if not transformers.utils.is_bitsandbytes_available():
        raise missing_extra("bitsandbytes", "quantized", f"load weights in {quantize}")
    if quantize == "8bit":
        return transformers.BitsAndBytesConfig(load_in_8bit=True)
    return transformers.BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype)


def load_model(
    path: str,
    *,
    device: torch.device,
    dtype: torch.dtype,
    attention: str,
    adapter: str | None = None,
    quantize: str = "none",
) -> tuple[Any, Any]:
    """Load a text or vision-language checkpoint, merge an adapter into it, and load its tokenizer or processor.

    Args:
        path: a folder, or a name on the Hugging Face hub. A folder that holds a LoRA adapter alone names its base itself.
        device: where the weights go.
        dtype: what they are computed in.
        attention: transformers' name of the attention implementation, ``auto`` to choose.
        adapter: folder or name of a LoRA adapter for ``path``.
        quantize: ``none``, ``8bit`` or ``4bit`` (:func:`quantisation`). A checkpoint that is quantised itself needs none of it.

    Returns:
        ``(model, processor)`` where processor is a plain tokenizer for a text checkpoint.

    Raises:
        ModelNotFoundError: there is no such checkpoint, or it is of a kind that cannot write text.
    """
    transformers = import_transformers()
    folder = Path(path)
    if folder.is_dir() and (folder / "adapter_config.json").exists() and not (folder / "config.json").exists():
        base = _adapter_base(folder)
        return load_model(base, device=device, dtype=dtype, attention=attention, adapter=str(folder), quantize=quantize)
    few_bits = quantisation(quantize, device, dtype)
    if few_bits is not None and adapter is not None:
        raise ConfigError(f"quantize is {quantize!r} with the adapter {adapter!r}: merge it first (mmr5 train merge)")
    with load_errors(path, "model"):
        _, processor = load_prompting(path)
        seeing = hasattr(processor, "image_processor")
        loader = transformers.AutoModelForImageTextToText if seeing else transformers.AutoModelForCausalLM
        chosen = pick_attention(attention, device, dtype)
        options: dict[str, Any] = {"dtype": dtype, "attn_implementation": chosen, "trust_remote_code": trusts_code()}
        packed = _is_quantised(path)
        if packed and adapter is not None:
            raise ConfigError(
                f"{path!r} is quantised, and the adapter {adapter!r} cannot be merged into it: take its base in full"
            )
        if few_bits is not None or packed:  # weights in few bits are put in place as they are read
            options |= {"device_map": {"": device}, **({} if few_bits is None else {"quantization_config": few_bits})}
        model = loader.from_pretrained(path, **options)
    if adapter is not None:
        model = merge_adapter(model, adapter)
    return (model if "device_map" in options else model.to(device)).eval(), processor


def _is_quantised(path: str) -> bool:
    """Whether a checkpoint's weights are stored in few bits."""
    config = import_transformers().AutoConfig.from_pretrained(path, trust_remote_code=trusts_code())
    return getattr(config, "quantization_config", None) is not None


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


def store_merged(path: str, adapter: str, target: Path, *, dtype: torch.dtype, lock: AbstractContextManager[object]) -> None:
    """Keep a checkpoint with its adapter merged into it, once and atomically; it then loads in half the time.

    Args:
        path: folder of the base.
        adapter: folder of the adapter.
        target: folder to make; nothing is done when it is there.
        dtype: of the weights.
        lock: keeps other processes from doing the same.
    """
    with lock:
        if (target / "config.json").is_file():
            return
        model, processor = load_model(path, device=import_torch().device("cpu"), dtype=dtype, attention="auto", adapter=adapter)
        with staged_folder(target) as staging:
            model.save_pretrained(staging)
            processor.save_pretrained(staging)


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

    Where torchvision is missing or broken, the family's processor is built from its PIL image processor, without a video
    processor (page images need none). Call it within :func:`load_errors`.

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
            model_type = transformers.AutoConfig.from_pretrained(path, **options).model_type
            pictures = transformers.AutoImageProcessor.from_pretrained(path, backend="pil", **options)
            tokenizer = transformers.AutoTokenizer.from_pretrained(path, **options)
            settings, _ = processor_class(model_type).get_processor_dict(path, **options)
            template = settings.pop("chat_template", None) or getattr(tokenizer, "chat_template", None)
            return pil_processor(model_type, pictures, tokenizer, template, settings)
        except MODEL_ERRORS:
            raise error from None


def processor_class(model_type: str) -> Any:
    """The class of a model type's processor.

    Raises:
        KeyError: transformers knows none.
    """
    transformers = import_transformers()
    return getattr(transformers, transformers.models.auto.processing_auto.PROCESSOR_MAPPING_NAMES[model_type])


def pil_processor(
    model_type: str, image_processor: Any, tokenizer: Any, chat_template: str | None, settings: Mapping[str, Any] | None = None
) -> Any:
    """A processor that holds no video processor.

    Args:
        model_type: of the checkpoint, e.g. ``"qwen2_vl"``.
        image_processor: made for PIL.
        tokenizer: of the checkpoint.
        chat_template: of the checkpoint.
        settings: of its ``processor_config.json``; those that its class does not take are left out.
    """
    parent = processor_class(model_type)
    takes = set(inspect.signature(parent.__init__).parameters)
    parts = [name for name in parent.get_attributes() if name != "video_processor"]

    def init(
        self: Any, image_processor: Any = None, tokenizer: Any = None, chat_template: str | None = None, **more: Any
    ) -> None:
        none = {"video_processor": None} if "video_processor" in takes else {}
        parent.__init__(self, image_processor=image_processor, tokenizer=tokenizer, chat_template=chat_template, **none, **more)

    members = {
        "__init__": init,
        "__module__": __name__,
        "get_attributes": classmethod(lambda cls: list(parts)),
        "check_argument_for_proper_class": _accept,
    }
    known = {k: v for k, v in (settings or {}).items() if k in takes and k not in (*parts, "video_processor", "chat_template")}
    return type(parent.__name__, (parent,), members)(image_processor, tokenizer, chat_template=chat_template, **known)


def _accept(self: Any, argument_name: str, argument: Any) -> Any:
    """Any image processor and tokenizer will do, and no video processor."""
    return type(argument)


def _adapter_base(folder: Path) -> str:
    with load_errors(str(folder), "LoRA adapter"):
        base = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8")).get("base_model_name_or_path")
    if not base:
        raise ModelNotFoundError(
            f"{folder} holds an adapter that does not name its base: give the base with adapter={str(folder)!r}"
        )
    return str(base)
