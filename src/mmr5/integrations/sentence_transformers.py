"""The shape of sentence-transformers' ``CrossEncoder``: ``rank`` and ``predict``. The package itself is not needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from mmr5.documents import draft
from mmr5.errors import InputError
from mmr5.integrations.adapter import Adapter, OnResult, check_places, score_of
from mmr5.reranker import Reranker

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PAIR = 2
_HARMLESS = frozenset({"batch_size", "num_workers", "convert_to_numpy"})
"""Arguments of a cross-encoder that change no score."""


class MMR5CrossEncoder:
    """Stands where a ``CrossEncoder`` stands, for text, pictures, or both.

    A cross-encoder reads every pair alone; MM-R5 may read a question's documents together. So ``predict`` collects the pairs
    of each question and ranks them at once, and scores can be compared within a question only.

    Args:
        reranker: a reranker, or a model's name.
        image_root: folder below which paths to pictures must lie; None reads any path.
        on_result: told of every result.
        options: those of :meth:`mmr5.Reranker.from_pretrained`, where a name is given.
    """

    def __init__(
        self,
        reranker: Reranker | str = "mini",
        *,
        image_root: str | Path | None = None,
        on_result: OnResult | None = None,
        **options: Any,
    ) -> None:
        self._adapter = Adapter(reranker, image_root=image_root, on_result=on_result, **options)

    def rank(
        self,
        query: str,
        documents: Sequence[object],
        top_k: int | None = None,
        return_documents: bool = False,
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int = 32,
        show_progress_bar: bool | None = None,
        activation_fn: object = None,
        **ignored: Any,
    ) -> list[dict[str, Any]]:
        """Rank documents; the arguments stand where ``CrossEncoder.rank`` has them.

        Args:
            query: the question.
            documents: strings, pictures (``Path``, bytes, base64, Pillow), ``{"text", "image"}``, pages.
            top_k: keep only the best; None keeps all.
            return_documents: repeat each document under ``text``, as it was given.
            prompt_name: refused: the model has its own prompt.
            prompt: refused, likewise.
            batch_size: taken for the sake of callers that give it; batches are made by memory.
            show_progress_bar: taken, too; there is none.
            activation_fn: refused: scores are the method's own.
            ignored: ``num_workers`` and ``convert_to_numpy`` change nothing here; everything else is refused.

        Returns:
            ``{"corpus_id", "score", "reason", "relevance"}``, best first; ``corpus_id`` is the zero-based place in ``documents``.

        Raises:
            InputError: an empty question, an unknown kind of document, question and documents in each other's place, or an
                argument that has no meaning here.
        """
        del batch_size, show_progress_bar
        given = {"prompt_name": prompt_name, "prompt": prompt, "activation_fn": activation_fn, **ignored}
        _refuse("rank", given)
        check_places(query, documents)
        result = self._adapter.rank(query, documents, top_k)
        lines: list[dict[str, Any]] = []
        for page in result:
            line: dict[str, Any] = {
                "corpus_id": page.index,
                "score": score_of(page),
                "reason": page.reason,
                "relevance": page.relevance,
            }
            if return_documents:
                line["text"] = documents[page.index]
            lines.append(line)
        return lines

    def predict(self, sentences: Sequence[Any], *, show_progress_bar: bool | None = None, **ignored: Any) -> NDArray[np.float32]:
        """Scores of pairs.

        Args:
            sentences: pairs of a question and a document; a single pair is allowed.
            show_progress_bar: taken for the sake of callers that give it; there is none.
            ignored: ``batch_size``, ``num_workers`` and ``convert_to_numpy`` change nothing here; everything else is refused, so
                that nothing that matters is passed over.

        Returns:
            One float32 a pair, in the order given; a single pair gives an array of no dimensions.

        Raises:
            InputError: something that is no pair, or an argument that has no meaning here.
        """
        import numpy as np

        del show_progress_bar
        _refuse("predict", ignored)
        single = len(sentences) == PAIR and isinstance(sentences[0], str)
        pairs = [sentences] if single else list(sentences)
        groups = _by_question(pairs)
        batch = [(query, [draft(pairs[i][1], f"pairs[{i}]") for i in places]) for query, places in groups.items()]
        scores = np.zeros(len(pairs), dtype=np.float32)
        for places, result in zip(groups.values(), self._adapter.rank_many(batch), strict=True):
            for page in result:
                scores[places[page.index]] = score_of(page)
        return cast("NDArray[np.float32]", scores[0]) if single else scores


def _refuse(method: str, given: Mapping[str, Any]) -> None:
    """Refuse arguments that would change something if there were a cross-encoder here.

    Raises:
        InputError: there is one.
    """
    unknown = sorted(name for name, value in given.items() if name not in _HARMLESS and value is not None and value is not False)
    if unknown:
        raise InputError(f"{method} has no use for {', '.join(unknown)}: leave it out")


def _by_question(pairs: Sequence[Any]) -> dict[str, list[int]]:
    """Places of the pairs of each question, questions in the order of their first pair."""
    groups: dict[str, list[int]] = {}
    for place, pair in enumerate(pairs):
        if not isinstance(pair, Sequence) or isinstance(pair, str | bytes) or len(pair) != PAIR or not isinstance(pair[0], str):
            raise InputError(f"pairs[{place}] is no pair of a question and a document: give (question, document)")
        groups.setdefault(pair[0], []).append(place)
    return groups
