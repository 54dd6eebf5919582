"""Encoders of sentence-transformers, and vision-language models used as one: pages and questions → vectors.

Three things that the libraries leave to their callers are done here, once: processors of the Qwen-VL family load where
torchvision is missing; the native ColQwen2 gets the three-dimensional positions that it was trained with; and checkpoints that
were published as plain vision-language models (E5-V, DSE, GME) get their own prompt.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmr5.engines.loading import (
    import_torch,
    import_transformers,
    load_errors,
    load_processor,
    pick_attention,
    pick_device,
    pick_dtype,
    trusts_code,
)
from mmr5.errors import missing_extra
from mmr5.prompt import neutralise
from mmr5.storage.cache import digest

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image

    Vectors = np.ndarray[Any, Any]

_EDGE_BYTES = 1 << 20
_PATCHING = threading.RLock()


@dataclass(frozen=True, slots=True)
class Prompts:
    """How a vision-language model is asked for a vector: the last hidden state after these words.

    Attributes:
        page: the prompt of a page; it holds the model's image token once.
        query: the prompt of a question, with ``{query}``; where it holds ``blank``, a blank picture is shown.
        blank: the image token of ``query``, or None.
    """

    page: str
    query: str
    blank: str | None = None


def checkpoint_identity(name: str) -> str:
    """What tells one checkpoint from another.

    Made of a folder's files (each one's name, size, first and last MiB), or of a hub name and the commit in the hub's cache.
    """
    folder = Path(name).expanduser()
    if not folder.is_dir():
        return f"{name}@{_hub_commit(name)}"
    parts: list[str | bytes] = []
    for file in sorted(p for p in folder.rglob("*") if p.is_file()):
        size = file.stat().st_size
        with file.open("rb") as data:
            state = hashlib.sha256(data.read(_EDGE_BYTES))
            data.seek(max(0, size - _EDGE_BYTES))
            state.update(data.read())
        parts += [file.relative_to(folder).as_posix(), str(size), state.digest()]
    return digest(*parts)


def load_encoder(kind: str, path: str, *, device: str = "auto", dtype: str = "auto") -> Any:
    """Load a model of sentence-transformers.

    Args:
        kind: ``SentenceTransformer``, ``MultiVectorEncoder`` or ``CrossEncoder``.
        path: a folder, or a name on the hub. Code that a checkpoint brings along is run only where the environment variable
            ``MMR5_TRUST_REMOTE_CODE`` is 1.
        device: as for :func:`mmr5.engines.loading.pick_device`.
        dtype: as for :func:`mmr5.engines.loading.pick_dtype`.

    Raises:
        MissingExtraError: sentence-transformers is not installed, or too old to have the kind.
        ModelNotFoundError: there is no such checkpoint, or it is of another kind.
    """
    try:
        library = importlib.import_module("sentence_transformers")
        loader = getattr(library, kind)
    except (ImportError, AttributeError) as error:
        raise missing_extra(f"sentence-transformers with {kind}", "local", f"load {path!r}") from error
    import_transformers()
    chosen = pick_device(device)
    options = {"device": str(chosen), "model_kwargs": {"dtype": pick_dtype(dtype, chosen)}}
    with load_errors(path, kind), _processors():
        model = loader(path, **options, trust_remote_code=trusts_code())
    _fix_positions(model)
    return model.eval()


class PromptedEncoder:
    """A vision-language model as an encoder: the last hidden state at the last token of a prompt, at unit length.

    Args:
        path: a folder, or a name on the hub.
        prompts: what it was trained to be asked.
        device: as for :func:`mmr5.engines.loading.pick_device`.
        dtype: as for :func:`mmr5.engines.loading.pick_dtype`.

    Raises:
        ModelNotFoundError: there is no such checkpoint, or it sees no pictures.
    """

    def __init__(self, path: str, prompts: Prompts, *, device: str = "auto", dtype: str = "auto") -> None:
        transformers = import_transformers()
        self._prompts = prompts
        self.device = pick_device(device)
        kind = pick_dtype(dtype, self.device)
        attention = pick_attention("auto", self.device, kind)
        with load_errors(path, "vision-language model"):
            model = transformers.AutoModel.from_pretrained(path, dtype=kind, attn_implementation=attention)
            self._processor = load_processor(path)
            self._processor.tokenizer.padding_side = "left"
        self._model = model.to(self.device).eval()

    def encode_pages(self, images: Sequence[Image]) -> Vectors:
        """Vectors of pictures, (n, dimension), float32."""
        return self._encode([self._prompts.page] * len(images), list(images))

    def encode_query(self, query: str) -> Vectors:
        """The vector of a question, (dimension,), float32."""
        from PIL import Image

        text = self._prompts.query.replace("{query}", neutralise(query, self._processor.tokenizer.all_special_tokens))
        blanks = [Image.new("RGB", (28, 28), "white")] if self._prompts.blank else None
        vector: Vectors = self._encode([text], blanks)[0]
        return vector

    def _encode(self, texts: list[str], images: list[Image] | None) -> Vectors:
        torch = import_torch()
        inputs = self._processor(text=texts, images=images, padding=True, return_tensors="pt").to(self.device)
        with torch.inference_mode():
            states = self._model(**inputs).last_hidden_state[:, -1].float()
        return unit(states.cpu().numpy())


def unit(vectors: Vectors) -> Vectors:
    """Vectors at length 1, along the last axis."""
    import numpy as np

    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12), dtype=np.float32)


def mrope_positions(model: Any, input_ids: Any, attention_mask: Any, image_grid_thw: Any) -> Any:
    """The positions of text and image tokens as Qwen2-VL was trained with them, (3, batch, tokens): time, height, width.

    Args:
        model: a native ColQwen2.
        input_ids: (batch, tokens).
        attention_mask: (batch, tokens), or None.
        image_grid_thw: (images, 3), or None where there are no pictures.
    """
    is_image = (input_ids == model.config.vlm_config.image_token_id).int()
    positions, _ = model.vlm.get_rope_index(
        input_ids, mm_token_type_ids=is_image, image_grid_thw=image_grid_thw, attention_mask=attention_mask
    )
    return positions


def _fix_positions(encoder: Any) -> None:
    """Give native ColQwen2 its positions: it hands its backbone no ids, which then counts image tokens in one dimension."""
    model: Any = getattr(encoder, "transformers_model", None)
    if getattr(getattr(model, "config", None), "model_type", None) != "colqwen2":
        return

    forward = model.forward

    @functools.wraps(forward)
    def with_positions(*arguments: Any, **named: Any) -> Any:
        if named.get("position_ids") is None and named.get("image_grid_thw") is not None and named.get("input_ids") is not None:
            named["position_ids"] = mrope_positions(
                model, named["input_ids"], named.get("attention_mask"), named["image_grid_thw"]
            )
        return forward(*arguments, **named)

    # sentence-transformers calls ``forward`` itself, so that hooks of torch are never run.
    model.forward = with_positions


@contextmanager
def _processors() -> Iterator[None]:
    """While this holds, sentence-transformers opens processors by :func:`open_processor`."""
    module: Any = importlib.import_module("sentence_transformers.base.modules.transformer")
    with _PATCHING:
        original = module.AutoProcessor
        module.AutoProcessor = _Opener
        try:
            yield
        finally:
            module.AutoProcessor = original


class _Opener:
    """Stands for ``AutoProcessor``."""

    from_pretrained = staticmethod(load_processor)


def _hub_commit(name: str) -> str:
    """The commit of a checkpoint in the hub's cache, or ``?``."""
    try:
        from huggingface_hub import try_to_load_from_cache

        found = try_to_load_from_cache(name, "config.json")
    except (ImportError, ValueError):
        return "?"
    return Path(found).parent.name if isinstance(found, str) else "?"
