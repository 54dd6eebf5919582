"""What a late-interaction model learns from: lists of the first stage, labels, and the encoder's states of pages and questions.

The encoder is not trained, so each document is read and encoded once. A document's part of the folder is complete when its
``DOC.json`` is there, which is written last: a killed run goes on with the next document.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmr5.corpora import Corpus, load_corpus
from mmr5.corpora.records import Document, Question
from mmr5.engines.late_interaction import PASSAGE_TOKENS, base_folder
from mmr5.engines.loading import import_torch
from mmr5.engines.runtime.late_features import features
from mmr5.engines.runtime.late_head import PageTokens
from mmr5.engines.runtime.text_encoder import TextEncoder, shared_encoder
from mmr5.errors import ConfigError
from mmr5.evidence import share_held
from mmr5.excerpts import passages
from mmr5.retrieval import find_candidates, open_retriever
from mmr5.storage.atomic import make_folder, writing
from mmr5.storage.cache import digest
from mmr5.storage.jsonl import read_json, write_json
from mmr5.training.late_config import LateTrainingConfig
from mmr5.types import Progress

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

LEAST_HELD = 0.3
"""A page's passages have labels where one of them holds at least this share of the quote's words."""
NEAR_BEST = 0.6
"""A passage is one to find from this share of what the best one holds."""


@dataclass(frozen=True, slots=True)
class Example:
    """One question.

    Attributes:
        qid: its id.
        corpus: the corpus it is of.
        doc_name: its document.
        domain: the document's.
        question: its words.
        language: of the question; ``written`` is the document's.
        written: ISO 639-1.
        type: of the evidence.
        kind: why no page answers, or None.
        corrected: whether a page corrects what an unanswerable question takes for granted.
        relevant: all relevant pages, empty where none answers.
        pages: the first stage's best, in its order.
        first: its log-odds of each of them.
        features: of each of them.
        wanted: of each of them, the places of the passages to find, among its own; empty where there is no label.
        at: the question's place in its document.
    """

    qid: str
    corpus: str
    doc_name: str
    domain: str
    question: str
    language: str
    written: str
    type: str
    kind: str | None
    corrected: bool
    relevant: tuple[int, ...]
    pages: tuple[int, ...]
    first: tuple[float, ...]
    features: tuple[tuple[float, ...], ...]
    wanted: tuple[tuple[int, ...], ...]
    at: int


class States:
    """The encoder's states of documents, in a folder.

    Args:
        folder: where they are.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._open = lru_cache(maxsize=None)(self._load)

    def question(self, example: Example) -> Any:
        """States of the question's tokens, (tokens, hidden), float32."""
        known, _, questions = self._open(example.doc_name)
        starts = known["question_starts"]
        return _tensor(questions[starts[example.at] : starts[example.at + 1]])

    def page(self, doc_name: str, page: int) -> tuple[Any, tuple[int, ...]]:
        """States of a page's tokens, (tokens, hidden), float32, and how many each of its passages has."""
        known, states, _ = self._open(doc_name)
        start, end = known["pages"][page], known["pages"][page + 1]
        starts = known["passage_starts"]
        return _tensor(states[starts[start] : starts[end]]), tuple(known["passages"][start:end])

    def examples(self, doc_name: str) -> list[Example]:
        """The questions of a document."""
        return [_example(record) for record in self._open(doc_name)[0]["examples"]]

    def texts(self, doc_name: str) -> list[list[str]]:
        """The passages of each page of a document."""
        found: list[list[str]] = self._open(doc_name)[0]["texts"]
        return found

    def _load(self, doc_name: str) -> tuple[dict[str, Any], Array, Array]:
        import numpy as np

        known = read_json(self.folder / f"{doc_name}.json")
        for name in ("passage", "question"):
            known[f"{name}_starts"] = [0, *np.cumsum(known[f"{name}s"], dtype=int).tolist()]
        states, questions = (np.load(self.folder / f"{doc_name}.{part}.npy", mmap_mode="r") for part in ("pages", "questions"))
        return known, states, questions


def tokens_of(head: Any, states: States, example: Example, pages: Sequence[int]) -> list[PageTokens]:
    """The vectors of pages, by the head as it is now."""
    torch = import_torch()
    own, lengths = zip(*(states.page(example.doc_name, page) for page in pages), strict=True)
    vectors = torch.split(head.page(torch.cat(own)), [len(one) for one in own])
    return [PageTokens(one, counts) for one, counts in zip(vectors, lengths, strict=True)]


def prepare(config: LateTrainingConfig, progress: Progress | None = None) -> list[str]:
    """Read and encode all documents that are not there yet; returns their names, those that are left out included.

    Raises:
        ConfigError: two corpora have a document of the same name, or the folder was made with other settings.
    """
    folder = config.states
    make_folder(folder)
    _claim(config, folder)
    encoder: TextEncoder | None = None
    names: list[str] = []
    corpora = [(name, load_corpus(name).split(config.data.split or None)) for name in config.data.corpora]
    total = sum(len(corpus.by_document()) for _, corpus in corpora)
    for corpus_name, corpus in corpora:
        for document, questions in corpus.by_document():
            if document.doc_name in names:
                raise ConfigError(f"document {document.doc_name!r} is in two corpora: rename one")
            names.append(document.doc_name)
            if progress is not None:
                progress("encoding documents", len(names) - 1, total)
            if (folder / f"{document.doc_name}.json").is_file():
                continue
            if encoder is None:
                encoder = shared_encoder(base_folder(config.model.base, progress=progress))
            _encode(config, encoder, folder, corpus_name, corpus, document, questions)
    return names


def _claim(config: LateTrainingConfig, folder: Path) -> None:
    """Write what the states are made with, or refuse a folder whose states are of other settings."""
    made = {
        "base": config.model.base, "layer": config.model.layer, "passage_words": config.model.passage_words,
        "retriever": config.data.retriever, "depth": config.data.depth, "split": config.data.split,
    }  # fmt: skip
    file = folder / "made_with.json"
    if file.is_file() and (before := read_json(file)) != made:
        differ = ", ".join(name for name in made if before.get(name) != made[name])
        raise ConfigError(f"{folder} holds states made with other settings ({differ}): name another folder (data.states)")
    write_json(file, made)


def _encode(
    config: LateTrainingConfig,
    encoder: TextEncoder,
    folder: Path,
    corpus_name: str,
    corpus: Corpus,
    document: Document,
    questions: Sequence[Question],
) -> None:
    pages = corpus.document_pages(document.doc_name)
    texts = [passages(page.text or "", config.model.passage_words) for page in pages]
    layer = config.model.layer
    read = encoder.states([part for own in texts for part in own], "document", layer=layer, most=PASSAGE_TOKENS)
    asked = encoder.states([question.question for question in questions], "query", layer=layer)
    lengths = [len(one) for one in read]
    starts = [0]
    for own in texts:
        starts.append(starts[-1] + len(own))
    counts = [sum(lengths[a:b]) for a, b in pairwise(starts)]
    index = open_retriever(config.data.retriever, pages)
    if index.scale is None:
        raise ConfigError(f"data.retriever is {config.data.retriever!r}, whose scores have no scale: use hybrid, bm25 or dense")
    examples = []
    for at, question in enumerate(questions):
        found = find_candidates(question.question, pages, index, config.data.depth)
        listed = [found.index_of(i) for i in range(len(found))]
        examples.append(
            {
                "qid": question.qid,
                "corpus": corpus_name,
                "doc_name": document.doc_name,
                "domain": document.domain,
                "question": question.question,
                "language": question.language or "en",
                "written": document.language or "en",
                "type": question.type or "unknown",
                "kind": question.kind,
                "corrected": bool(question.corrected_by),
                "relevant": list(question.page_ids),
                "pages": listed,
                "first": [round(index.scale * score, 5) for score in found.scores or ()],
                "features": [[round(v, 5) for v in features(question.question, pages[p].text or "", counts[p])] for p in listed],
                "wanted": [wanted(question.quotes.get(p, ""), texts[p]) for p in listed],
                "at": at,
            }
        )
    _save(folder / f"{document.doc_name}.pages.npy", read, encoder.dimension)
    _save(folder / f"{document.doc_name}.questions.npy", asked, encoder.dimension)
    write_json(
        folder / f"{document.doc_name}.json",
        {"passages": lengths, "pages": starts, "questions": [len(one) for one in asked], "texts": texts, "examples": examples},
    )


def wanted(quote: str, texts: Sequence[str]) -> list[int]:
    """Places of the passages that hold a quote or a good part of it; empty where there is none, or none of them does."""
    held = [share_held(quote, text) for text in texts] if quote else []
    best = max(held, default=0.0)
    return [i for i, share in enumerate(held) if share >= NEAR_BEST * best] if best >= LEAST_HELD else []


def fingerprint(config: LateTrainingConfig, names: Sequence[str]) -> str:
    """Of all lists that are learnt from."""
    return digest(*(json.dumps(read_json(config.states / f"{name}.json")["examples"]) for name in names))[:16]


def _example(record: dict[str, Any]) -> Example:
    plain = dict(record)
    for name in ("relevant", "pages", "first"):
        plain[name] = tuple(plain[name])
    for name in ("features", "wanted"):
        plain[name] = tuple(tuple(one) for one in plain[name])
    return Example(**plain)


def _tensor(states: Array) -> Any:
    """Rows of a file as a tensor of its own, float32."""
    import numpy as np

    return import_torch().from_numpy(np.array(states)).float()


def _save(path: Path, states: Sequence[Any], hidden: int) -> None:
    import numpy as np

    whole = np.concatenate([np.zeros((0, hidden), np.float16), *(one.float().cpu().numpy().astype(np.float16) for one in states)])
    with writing(path) as stream:
        np.save(stream, whole)
