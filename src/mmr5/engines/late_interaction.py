"""Late interaction: the tokens of a question and of a page, encoded apart, meet in a small trained head.

The encoder is the lower part of the first stage's own multilingual model. What it makes of a page does not depend on the
question, so that it is kept: in memory, and in the cache on disk. It reads the whole page, passage by passage.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from mmr5.engines.encoders import checkpoint_identity
from mmr5.engines.loading import dtype_name, import_torch, load_errors
from mmr5.engines.protocol import Capabilities, LateScore
from mmr5.engines.runtime.late_features import FEATURES, features
from mmr5.engines.runtime.late_head import LateHead, PageTokens
from mmr5.engines.runtime.text_encoder import TextEncoder, shared_encoder
from mmr5.errors import CapabilityError, EngineError, MMR5Error, ModelNotFoundError
from mmr5.evidence_features import Matches, token_spans
from mmr5.excerpts import passages
from mmr5.models import e5
from mmr5.models.late import LateConfig
from mmr5.storage.atomic import writing
from mmr5.storage.cache import Cache, digest
from mmr5.storage.lru import LRU
from mmr5.types import Progress, Usage

NAMESPACE = "late-tokens"
"""Of the cache: the tokens of pages."""
MEMORY_BYTES = 256 * 2**20
"""Most bytes of pages' tokens that are held in memory."""
PASSAGE_TOKENS = 192
"""Most tokens of a passage of :attr:`LateConfig.passage_words` words that are read, with those that stand around it."""

WEIGHTS = "model.safetensors"
MAPS = ("page.weight", "page.bias", "question.weight", "question.bias", "importance.weight", "importance.bias")
"""Weights that are stored in float16; the others are single numbers."""


@dataclass(frozen=True, slots=True)
class LateWeights:
    """A loaded model.

    Attributes:
        config: what it was made for.
        encoder: gives the states of tokens.
        head: makes scores of them.
    """

    config: LateConfig
    encoder: TextEncoder
    head: LateHead


def load(folder: Path, *, device: str = "auto", dtype: str = "auto", cache: Cache | None = None,
         progress: Progress | None = None) -> LateWeights:  # fmt: skip
    """Load a model from its folder; the encoder that it rests on is obtained where it is missing.

    Raises:
        ModelNotFoundError: the folder holds no late-interaction model, or the encoder cannot be had.
    """
    config = LateConfig.read(folder)
    encoder = shared_encoder(base_folder(config.base, cache=cache, progress=progress), device=device, dtype=dtype)
    if config.layer > encoder.depth:
        raise ModelNotFoundError(f"{folder}: layer is {config.layer}, and {config.base} has {encoder.depth}")
    head = read_head(folder)
    if head.hidden != encoder.dimension:
        raise ModelNotFoundError(
            f"{folder} was made for states of {head.hidden} numbers, and {config.base} gives {encoder.dimension}: "
            "name the encoder that it was trained on in config.json"
        )
    return LateWeights(config, encoder, head.to(encoder.device))


def read_head(folder: Path) -> LateHead:
    """The trained part in a model's folder, float32.

    Raises:
        ModelNotFoundError: there is none, or it is damaged.
    """
    with load_errors(str(folder), "late-interaction model"):
        from safetensors.torch import load_file

        return LateHead({name: value.float() for name, value in load_file(folder / WEIGHTS).items()})


def write_head(head: LateHead, folder: Path) -> None:
    """Write what :func:`read_head` reads."""
    from safetensors.torch import save

    own = {name: (v.detach().half() if name in MAPS else v.detach()).contiguous() for name, v in head.weights.items()}
    with writing(folder / WEIGHTS) as stream:
        stream.write(save(own))


def base_folder(base: str, *, cache: Cache | None = None, progress: Progress | None = None) -> Path:
    """The folder of the encoder: the first stage's own by its name, or any BERT checkpoint's of sentence-transformers."""
    return e5.checkpoint(cache=cache, progress=progress) if base == e5.NAME else Path(base)


class LateInteractionEngine:
    """A late-interaction reranker.

    Args:
        path: folder of the model.
        name: as shown in results; None takes the folder's.
        device: as for :func:`mmr5.engines.loading.pick_device`.
        dtype: as for :func:`mmr5.engines.loading.pick_dtype`.
        cache: where pages' tokens are kept.
        progress: told of downloads.

    Raises:
        ModelNotFoundError: there is no such model, or its encoder cannot be had.
    """

    name = "late-interaction"
    reserved: tuple[str, ...] = ()
    capabilities = Capabilities(generate=False, score_tokens=True)

    def __init__(
        self,
        path: str,
        *,
        name: str | None = None,
        device: str = "auto",
        dtype: str = "auto",
        cache: Cache | None = None,
        progress: Progress | None = None,
    ) -> None:
        folder = Path(path)
        self.model = name or folder.name
        self._loaded = load(folder, device=device, dtype=dtype, cache=cache, progress=progress)
        self.device, self.dtype = self._loaded.encoder.device, dtype_name(self._loaded.encoder.dtype)
        self._store = cache or Cache()
        base = base_folder(self._loaded.config.base, cache=cache)
        weights = (folder / WEIGHTS).read_bytes()  # the recipe beside them says nothing of the tokens
        self._identity = digest(weights, self._loaded.config.to_json(), checkpoint_identity(str(base)), self.dtype)
        self._held: LRU[PageTokens] = LRU(MEMORY_BYTES)

    def count_tokens(self, text: str) -> int:
        """Tokens of ``text`` alone."""
        return self._loaded.encoder.count(text)

    def score_tokens(
        self, queries: Sequence[str], pages: Sequence[Sequence[str]], on_done: Callable[[int], None] | None = None
    ) -> list[LateScore]:
        """Scores of each question's own pages.

        Args:
            queries: the questions.
            pages: the texts of each one's pages.
            on_done: called with the number of passages read after each batch.

        Raises:
            EngineError: the model failed.
        """
        with self._failing(f"{sum(map(len, pages))} pages"):
            return self._score(queries, pages, on_done)

    def _score(
        self, queries: Sequence[str], pages: Sequence[Sequence[str]], on_done: Callable[[int], None] | None
    ) -> list[LateScore]:
        torch = import_torch()
        head, encoder = self._loaded.head, self._loaded.encoder
        cut = {text: passages(text, self._loaded.config.passage_words) for own in pages for text in own}
        read = self._read(cut, on_done)
        states = encoder.states(queries, "query", layer=self._loaded.config.layer)
        found = []
        with torch.inference_mode():
            for query, own, of_question in zip(queries, pages, states, strict=True):
                tokens = [read[text] for text in own]
                given = torch.tensor(
                    [features(query, text, sum(one.lengths)) for text, one in zip(own, tokens, strict=True)],
                    dtype=torch.float32,
                    device=self.device,
                )
                if not len(of_question):  # nothing but white space or signs that the tokenizer drops
                    found.append(LateScore((0.0,) * len(own)))
                    continue
                scores = head.score(head.question(of_question), tokens, given.reshape(len(own), len(FEATURES)))
                read_tokens = len(of_question) + sum(sum(one.lengths) for one in tokens)
                found.append(LateScore(tuple(scores.pages.tolist()), Usage(read_tokens)))
        return found

    def matches(self, query: str, texts: Sequence[str]) -> list[Matches | None]:
        """How the tokens of a question meet those of each page; None where either has no tokens.

        Raises:
            EngineError: the model failed.
        """
        with self._failing(f"{len(texts)} pages"):
            torch = import_torch()
            head, encoder = self._loaded.head, self._loaded.encoder
            [asked] = encoder.states([query], "query", layer=self._loaded.config.layer)
            cut = {text: passages(text, self._loaded.config.passage_words) for text in texts}
            read = self._read(cut, None)
            found: list[Matches | None] = []
            with torch.inference_mode():
                question = head.question(asked) if len(asked) else None
                for text in texts:
                    vectors = read[text].vectors
                    if question is None or not len(vectors):
                        found.append(None)
                        continue
                    cosines = question.vectors @ vectors.float().T
                    spans = token_spans(text, cut[text], encoder.offsets(cut[text], most=PASSAGE_TOKENS))
                    found.append(Matches(spans, cosines.cpu().numpy(), question.importance.cpu().numpy()))
            return found

    @contextmanager
    def _failing(self, what: str) -> Iterator[None]:
        try:
            yield
        except MMR5Error:
            raise
        except (RuntimeError, ValueError) as error:
            raise EngineError(f"{self.model} failed on {what}: {error}") from error

    def _read(self, cut: dict[str, list[str]], on_done: Callable[[int], None] | None) -> dict[str, PageTokens]:
        """The tokens of each page's text: held, kept in the cache, or encoded now."""
        found: dict[str, PageTokens] = {}
        keys = {text: digest(self._identity, text) for text in cut}
        for text, key in keys.items():
            held = self._held.get(key)
            if held is None and (data := self._store.get(NAMESPACE, key)) is not None:
                held = self._keep(key, *_unpack(data, self._loaded.head.dimension))
            if held is not None:
                found[text] = held
        missing = [text for text in cut if text not in found]
        states = self._loaded.encoder.states(
            [part for text in missing for part in cut[text]],
            "document",
            on_done,
            layer=self._loaded.config.layer,
            most=PASSAGE_TOKENS,
        )
        torch = import_torch()
        start = 0
        for text in missing:
            own = states[start : start + len(cut[text])]
            start += len(own)
            lengths = tuple(len(one) for one in own)
            with torch.inference_mode():
                vectors = self._loaded.head.page(torch.cat(own)).half() if own else torch.zeros(0, self._loaded.head.dimension)
            self._store.put(NAMESPACE, keys[text], _pack(vectors, lengths))
            found[text] = self._keep(keys[text], vectors, lengths)
        return found

    def _keep(self, key: str, vectors: Any, lengths: tuple[int, ...]) -> PageTokens:
        made = PageTokens(vectors.to(self.device), lengths)
        self._held.put(key, made, 2 * vectors.numel() + 64)
        return made

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
        raise CapabilityError(
            f"{self.model} is a late-interaction model and cannot {what}: use method 'late-interaction', or another model"
        )


def _pack(vectors: Any, lengths: Sequence[int]) -> bytes:
    packed: bytes = json.dumps(lengths).encode() + b"\n" + vectors.half().cpu().numpy().tobytes()
    return packed


def _unpack(data: bytes, dimension: int) -> tuple[Any, tuple[int, ...]]:
    torch = import_torch()
    lengths, _, rest = data.partition(b"\n")
    vectors = torch.frombuffer(bytearray(rest), dtype=torch.float16) if rest else torch.zeros(0, dtype=torch.float16)
    return vectors.reshape(-1, dimension), tuple(json.loads(lengths))
