"""Pointwise cross-encoders: Qwen3-VL-Reranker, jina-reranker-m0, MonoQwen2-VL and text rerankers; a pair in, a score out.

They read a question with one page and write nothing, so of what an engine can do they have :meth:`CrossEncoderEngine.score_pairs`
alone, which the method ``cross-encoder`` asks for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from mmr5.engines.encoders import load_encoder
from mmr5.engines.loading import dtype_name, import_torch, load_model, pick_device, pick_dtype
from mmr5.engines.protocol import Capabilities, Document
from mmr5.errors import CapabilityError, ConfigError, EngineError, MMR5Error, ModelNotFoundError
from mmr5.pages.images import DEFAULT_MAX_PIXELS
from mmr5.prompt import neutralise

if TYPE_CHECKING:
    from PIL.Image import Image

MONO = "monoqwen"
"""Checkpoints with this in their name are vision-language models that answer True or False."""
MONO_BASE = "Qwen/Qwen2-VL-2B-Instruct"
MONO_PROMPT = (
    "Assert the relevance of the previous image document to the following query, answer True or False. The query is: {query}"
)
TEXT_BATCH = 16
IMAGE_BATCH = 4
_UNBOUNDED = 10**6
"""A length that no model reads: tokenizers write such a number when they know none."""


class CrossEncoderEngine:
    """A cross-encoder of sentence-transformers, or MonoQwen2-VL.

    Args:
        path: a folder, or a name on the hub.
        name: as shown in results; None takes the path's last part.
        device: as for :func:`mmr5.engines.loading.pick_device`.
        dtype: as for :func:`mmr5.engines.loading.pick_dtype`.
        max_pixels: pixel budget of a page's picture.

    Raises:
        ModelNotFoundError: there is no such checkpoint, or it gives no single score for a pair.
    """

    name = "cross-encoder"
    reserved: tuple[str, ...] = ()

    def __init__(
        self,
        path: str,
        *,
        name: str | None = None,
        device: str = "auto",
        dtype: str = "auto",
        max_pixels: int = DEFAULT_MAX_PIXELS,
    ) -> None:
        self.model = name or path.rstrip("/").rsplit("/", 1)[-1]
        self._max_pixels = max_pixels
        self._scorer: _Library | _Mono = (_Mono if MONO in path.lower() else _Library)(path, device, dtype)
        self.device = self._scorer.device
        self.dtype = self._scorer.dtype
        self.capabilities = Capabilities(
            generate=False, score_pairs=True, images=self._scorer.images, context_tokens=self._scorer.context
        )

    def count_tokens(self, text: str) -> int:
        """Tokens of ``text`` alone."""
        return len(self._scorer.tokenizer(text, add_special_tokens=False)["input_ids"])

    def score_pairs(self, queries: Sequence[str], documents: Sequence[Document]) -> list[float]:
        """One score for each question with its own document; higher is more relevant, any real number.

        Raises:
            CapabilityError: a picture, and the model sees none; or a document without one, and the model needs it.
            EngineError: the model failed.
        """
        pairs = [(query, self._part(text, image)) for query, (text, image) in zip(queries, documents, strict=True)]
        try:
            return [float(score) for score in self._scorer.predict(pairs)]
        except MMR5Error:
            raise
        except (RuntimeError, ValueError) as error:
            raise EngineError(f"{self.model} failed on {len(pairs)} pairs: {error}") from error

    @property
    def weights(self) -> Any:
        """The model itself, for training: a ``CrossEncoder`` of sentence-transformers.

        Raises:
            ConfigError: it is of another kind.
        """
        if not isinstance(self._scorer, _Library):
            raise ConfigError(
                f"{self.model} is MonoQwen2-VL: train a cross-encoder of sentence-transformers, or a language model"
            )
        return self._scorer.model

    def _part(self, text: str | None, image: Any) -> Any:
        """A document as the libraries take it: a text, a picture, or both."""
        if image is None:
            return text or ""
        picture = image.load(self._max_pixels)
        return picture if text is None else {"text": text, "image": picture}

    def generate(self, *_: Any, **__: Any) -> NoReturn:
        """It writes nothing."""
        self._cannot("write")

    def score_choices(self, *_: Any, **__: Any) -> NoReturn:
        """It has no choices."""
        self._cannot("weigh choices")

    def score_text(self, *_: Any, **__: Any) -> NoReturn:
        """It scores no texts."""
        self._cannot("score a text")

    def _cannot(self, what: str) -> NoReturn:
        raise CapabilityError(f"{self.model} is a cross-encoder and cannot {what}: use method 'cross-encoder', or another engine")


class _Library:
    """A ``CrossEncoder``."""

    def __init__(self, path: str, device: str, dtype: str) -> None:
        self.model = load_encoder("CrossEncoder", path, device=device, dtype=dtype)
        if self.model.num_labels != 1:
            raise ModelNotFoundError(
                f"{path!r} gives {self.model.num_labels} labels for a pair, and a reranker gives one score: use a reranker"
            )
        self.images = "image" in self.model.modalities
        self.tokenizer = self.model.tokenizer
        self.device = self.model.device
        self.dtype = dtype_name(next(self.model.parameters()).dtype)
        length = self.model.max_seq_length
        self.context = length if length is not None and length < _UNBOUNDED else None

    def predict(self, pairs: Sequence[tuple[str, Any]]) -> Any:
        torch = import_torch()
        batch = TEXT_BATCH if all(isinstance(document, str) for _, document in pairs) else IMAGE_BATCH
        return self.model.predict(list(pairs), batch_size=batch, show_progress_bar=False, activation_fn=torch.nn.Identity())


class _Mono:
    """MonoQwen2-VL: the log-odds of "True" against "False" as the reply to its own prompt."""

    images = True

    def __init__(self, path: str, device: str, dtype: str) -> None:
        self.device = pick_device(device)
        kind = pick_dtype(dtype, self.device)
        self.dtype = dtype_name(kind)
        try:
            self._model, self._processor = load_model(path, device=self.device, dtype=kind, attention="auto")
        except ModelNotFoundError:  # it was published as an adapter
            self._model, self._processor = load_model(MONO_BASE, device=self.device, dtype=kind, attention="auto", adapter=path)
        self.tokenizer = self._processor.tokenizer
        self.tokenizer.padding_side = "left"
        self._true, self._false = (self.tokenizer(word, add_special_tokens=False)["input_ids"][0] for word in ("True", "False"))
        self.context = None

    def predict(self, pairs: Sequence[tuple[str, Any]]) -> list[float]:
        return [s for start in range(0, len(pairs), IMAGE_BATCH) for s in self._batch(pairs[start : start + IMAGE_BATCH])]

    def _batch(self, pairs: Sequence[tuple[str, Any]]) -> list[float]:
        torch = import_torch()
        pictures = [_picture(document) for _, document in pairs]
        inputs = self._processor(
            text=[self._prompt(query) for query, _ in pairs], images=pictures, padding=True, return_tensors="pt"
        )
        with torch.inference_mode():
            logits = self._model(**inputs.to(self.device), logits_to_keep=1).logits[:, -1].float()
        return [float(v) for v in logits[:, self._true] - logits[:, self._false]]

    def _prompt(self, query: str) -> str:
        asked = MONO_PROMPT.replace("{query}", neutralise(query, self.tokenizer.all_special_tokens))
        content = [{"type": "image"}, {"type": "text", "text": asked}]
        rendered: str = self._processor.apply_chat_template(
            [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
        )
        return rendered


def _picture(document: Any) -> Image:
    if isinstance(document, str):
        raise CapabilityError("this cross-encoder reads pictures, and a page came without one: use view 'image'")
    picture: Image = document["image"] if isinstance(document, dict) else document
    return picture
