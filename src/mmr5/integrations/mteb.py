"""A reranker for mteb's own runner: ``mteb.evaluate(MTEBReranker("i2vec/MM-R5"), tasks)``.

mteb's way with cross-encoders is to score pairs. A list-wise model reads a question's candidates together, so this one implements
mteb's ``SearchProtocol`` and orders the list that a reranking task brings along (``ViDoRe(v3.1, reranking)`` and its kin).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from mmr5 import __version__
from mmr5.documents import Draft
from mmr5.errors import InputError, missing_extra
from mmr5.integrations.adapter import Adapter, OnResult
from mmr5.reranker import Reranker

BATCH = 8
"""Questions that are ranked together."""


class MTEBReranker:
    """A reranker as mteb wants one.

    Args:
        reranker: a reranker, or a model's name.
        name: as mteb calls it in its results, ``organisation/model``; None takes the model's own name, below ``mmr5/`` where it
            has no organisation.
        batch: questions ranked together, at least 1.
        on_result: told of every result: reasoning, reply, issues.
        options: those of :meth:`mmr5.Reranker.from_pretrained`, where a name is given.

    Raises:
        MissingExtraError: mteb is not installed.
    """

    def __init__(
        self,
        reranker: Reranker | str = "mini",
        *,
        name: str | None = None,
        batch: int = BATCH,
        on_result: OnResult | None = None,
        **options: Any,
    ) -> None:
        if batch < 1:
            raise InputError(f"batch is {batch}: give at least 1")
        self._adapter = Adapter(reranker, on_result=on_result, **options)
        opened = self._adapter.reranker
        self._batch = batch
        called = name or (reranker if isinstance(reranker, str) and not Path(reranker).exists() else opened.model)
        self._meta = _metadata(opened, called if called.count("/") == 1 else f"mmr5/{called.rsplit('/', 1)[-1]}")
        self._corpus: Any = None
        self._places: dict[str, int] = {}

    @property
    def mteb_model_meta(self) -> Any:
        """Mteb's ``ModelMeta``: the name; the method, the view and the prompt's fingerprint as experiment settings."""
        return self._meta

    def index(self, corpus: Any, **_: Any) -> None:
        """Keep the documents: a ``datasets.Dataset`` with ``id``, and ``text``, ``title`` and ``image`` as far as it has them."""
        self._corpus = corpus
        self._places = {str(name): place for place, name in enumerate(corpus["id"])}

    def search(
        self, queries: Any, *, top_k: int, top_ranked: Mapping[str, Sequence[str]] | None = None, **_: Any
    ) -> dict[str, dict[str, float]]:
        """Order each question's own candidates.

        Args:
            queries: a ``datasets.Dataset`` with ``id`` and ``text``.
            top_k: most documents that are returned for a question.
            top_ranked: question id → document ids, best first.

        Returns:
            Question id → document id → one over its place, so that no two documents tie.

        Raises:
            InputError: the task brings no candidates, or a question or document that cannot be read.
        """
        if self._corpus is None:
            raise InputError("search was called before index: there are no documents yet")
        if top_ranked is None:
            raise InputError("this task brings no candidates to rerank: take one of mteb's reranking tasks")
        asked = [(str(row["id"]), _text(row)) for row in queries]
        asked = [(qid, text) for qid, text in asked if top_ranked.get(qid)]
        found: dict[str, dict[str, float]] = {str(qid): {} for qid in queries["id"]}
        for start in range(0, len(asked), self._batch):
            part = asked[start : start + self._batch]
            lists = [[self._draft(str(name)) for name in top_ranked[qid]] for qid, _ in part]
            items = [(text, drafts) for (_, text), drafts in zip(part, lists, strict=True)]
            for asking, result in zip(part, self._adapter.rank_many(items, top_k), strict=True):
                qid = asking[0]
                found[qid] = {str(top_ranked[qid][page.index]): 1 / page.rank for page in result}
        return found

    def _draft(self, name: str) -> Draft:
        place = self._places.get(name)
        if place is None:
            raise InputError(f"the candidates name document {name!r}, which the corpus does not hold")
        columns = self._corpus.column_names
        texts = [self._corpus[column][place] for column in ("title", "text") if column in columns]
        text = " ".join(part.strip() for part in texts if isinstance(part, str) and part.strip()) or None
        picture = partial(_picture, self._corpus, place) if "image" in columns else None
        return Draft(name, text=text, picture=picture)


def _picture(corpus: Any, place: int) -> object:
    return corpus[place]["image"]


def _text(row: Mapping[str, Any]) -> str:
    text = row.get("text")
    if not isinstance(text, str) or not text.strip():
        raise InputError(f"question {row.get('id')!r} is {text!r}: only questions of words can be asked")
    return text


def _metadata(reranker: Reranker, name: str) -> Any:
    try:
        from mteb.models import ModelMeta
    except ImportError as error:
        raise missing_extra("mteb", "mteb", "run mteb's tasks") from error
    settings = {"method": reranker.method, "view": reranker.view, "prompt": reranker.fingerprint}
    modalities = ["text", "image"] if reranker.view != "text" else ["text"]
    return ModelMeta.create_empty(
        {"name": name, "revision": f"mmr5-{__version__}", "modalities": modalities, "experiment_kwargs": settings,
         "model_type": ["cross-encoder"]}
    )  # fmt: skip
