"""What stage two on orders can train: anything that gives each page of a list a score.

Three kinds: a late-interaction model beside its first stage, a language model by the odds of "Yes" (``pointwise``) or of the
page's id (``logits``), a cross-encoder. Each gives the very score that lists are sorted by, with a gradient.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from mmr5.answer import VERDICTS
from mmr5.corpora import load_corpus
from mmr5.corpora.records import Document
from mmr5.engines.late_interaction import read_head
from mmr5.engines.loading import import_torch
from mmr5.engines.runtime.choices import crossings
from mmr5.errors import ConfigError
from mmr5.methods import cross_encoder, listwise, logits, pointwise
from mmr5.models.late import LateConfig, is_late
from mmr5.models.recipes import FILE as RECIPE
from mmr5.models.resolve import resolve
from mmr5.reranker import Reranker
from mmr5.retrieval import find_candidates, open_retriever
from mmr5.settings import MethodSettings
from mmr5.storage.atomic import write_text
from mmr5.training import base_model
from mmr5.training.late_config import LateDataConfig, LateRunConfig, LateTrainingConfig
from mmr5.training.late_data import Example, States, prepare
from mmr5.training.late_interaction import parameter_groups, save, score
from mmr5.training.order_config import OrderTrainingConfig
from mmr5.types import Candidates, Page, Progress

PAIRS_AT_ONCE = 16
"""Pairs of a cross-encoder that are read in one pass."""
PROMPTS_AT_ONCE = 8
"""Prompts of a language model that are read in one pass."""


@dataclass(frozen=True, slots=True)
class QuestionList:
    """A question with the pages that are sorted.

    Attributes:
        qid: the question's id.
        doc_name: its document.
        relevant: of each page, in first-stage order, whether it is relevant; all False where no page answers.
        answerable: whether a page of the document answers, listed or not.
        held: what the model's kind needs to score the list.
    """

    qid: str
    doc_name: str
    relevant: tuple[bool, ...]
    answerable: bool
    held: Any


class ScoringModel(Protocol):
    """A model in training.

    Attributes:
        lists: all that can be learnt from, left-out documents not among them.
    """

    lists: list[QuestionList]

    def groups(self) -> list[dict[str, Any]]:
        """Parameter groups for an optimizer, with their peak rates."""

    def scores(self, one: QuestionList) -> Any:
        """The scores that a list is sorted by, (N,), float32, with a gradient."""

    def state(self) -> dict[str, Any]:
        """Trained tensors by name."""

    def save(self, out: Path) -> None:
        """Write what inference loads: weights, configuration, recipe."""


def open_model(config: OrderTrainingConfig, progress: Progress | None) -> ScoringModel:
    """Load stage one and its lists.

    Raises:
        ModelNotFoundError: there is no such model.
        ConfigError: a model or setting that gives no score with a gradient.
    """
    if config.model.engine == "cross-encoder":
        return PairModel(config, progress)
    checkpoint = resolve(config.model.start, progress=progress)
    if is_late(Path(checkpoint.path)):
        return LateModel(config, Path(checkpoint.path), progress)
    return PromptedModel(config, progress)


class LateModel:
    """A late-interaction model: its score beside the first stage's log-odds, over the stored states of its encoder."""

    def __init__(self, config: OrderTrainingConfig, folder: Path, progress: Progress | None) -> None:
        self._config, self._late = config, LateConfig.read(folder)
        self._head = read_head(folder)
        data = config.data
        own = LateTrainingConfig(
            data=LateDataConfig(data.corpora, data.split, data.leave_out, data.retriever, data.depth, data.states),
            run=LateRunConfig(config.run.out),
            model=self._late,
        )
        self._states = States(own.states)
        names = [name for name in prepare(own, progress) if _taught(config, name)]
        self.lists = [self._list(e) for name in names for e in self._states.examples(name)]
        for value in self._head.weights.values():
            value.requires_grad_(True)

    def _list(self, example: Example) -> QuestionList:
        relevant = tuple(page in example.relevant for page in example.pages)
        return QuestionList(example.qid, example.doc_name, relevant, bool(example.relevant), example)

    def groups(self) -> list[dict[str, Any]]:
        """Maps learn at the learning rate, scales at theirs."""
        return parameter_groups(self._head, self._config.optim.learning_rate, self._config.optim.scale_rate)

    def scores(self, one: QuestionList) -> Any:
        """First stage and model together."""
        return score(self._head, self._states, one.held)[0]

    def state(self) -> dict[str, Any]:
        """All weights of the head."""
        return dict(self._head.weights)

    def save(self, out: Path) -> None:
        """As ``mmr5 train late`` writes it."""
        save(self._head, self._late, out)


class PromptedModel:
    """A language model over page text: the log-odds of "Yes" for each page, or the log-probabilities of the ids."""

    def __init__(self, config: OrderTrainingConfig, progress: Progress | None) -> None:
        torch = import_torch()
        model = config.model
        given: dict[str, Any] = {"page_tokens": config.model.page_tokens} if config.model.page_tokens else {}
        reranker = Reranker.from_pretrained(
            model.start, method=model.method, view="text", device=model.device, dtype="float32", progress=progress, **given
        )
        if reranker.method not in ("pointwise", "logits"):
            raise ConfigError(f"{model.start} is used by method {reranker.method!r}: give model.method pointwise or logits")
        if reranker.settings.question_weight:
            raise ConfigError(f"{model.start} weighs the question's likelihood (question_weight), which is not trained on orders")
        engine: Any = reranker.engine
        self._engine = engine
        self._settings, self._method, self._recipe = reranker.settings, reranker.method, reranker.recipe
        fused = reranker.recipe.fusion_for(reranker.method)
        self._fusion = None if fused is None else float(fused)
        base = engine.weights
        torch.manual_seed(config.optim.seed)
        adapter = base_model.lora(config.lora, base)
        self._whole = base if adapter is None else base_model.wrap(base, adapter)
        self._rate = config.optim.learning_rate
        for name, value in self._whole.named_parameters():
            value.requires_grad_(adapter is None or "lora_" in name)
        self.lists = corpus_lists(config, progress, self._ask)

    def _ask(self, candidates: Candidates) -> list[tuple[list[int], list[tuple[int, ...]]]]:
        """For each prompt of a list, its tokens and the paths of its choices."""
        engine, settings = self._engine, self._settings
        if self._method == "pointwise":
            asked = [pointwise.request(engine, candidates.query, page, settings) for page in candidates.pages]
            words: Sequence[str] = settings.wording.verdicts or VERDICTS
        else:
            fitted, budget = listwise.budgets(engine, candidates, settings, think=False)
            if fitted.window < len(candidates):
                raise ConfigError(
                    f"{len(candidates)} candidates do not fit a window of {fitted.window}: lower data.depth or model.page_tokens"
                )
            asked = [listwise.request(engine, candidates, settings, budget, think=False, prefill=logits.opening(settings))]
            words = logits.choices(len(candidates), settings)
        return [(engine.prompt_ids(one), engine.choice_paths(one.prefill, words)) for one in asked]

    def groups(self) -> list[dict[str, Any]]:
        """The adapter, or all weights."""
        return [{"params": [v for v in self._whole.parameters() if v.requires_grad], "lr": self._rate}]

    def scores(self, one: QuestionList) -> Any:
        """Log-odds of "Yes", or log-probabilities of the ids; with the first stage's log-odds where the recipe joins them."""
        torch = import_torch()
        asked, first = one.held
        if self._method == "pointwise":
            said = self._logprobs(asked)
            found = torch.stack([own[0] - own[1] for own in said])
        else:
            [found] = self._logprobs(asked)
        return found if self._fusion is None else torch.tensor(first, device=found.device) + self._fusion * found

    def _logprobs(self, asked: Sequence[tuple[list[int], list[tuple[int, ...]]]]) -> list[Any]:
        """Log-probability of each choice of each prompt when only the choices may be written, as at inference."""
        torch = import_torch()
        device = next(self._whole.parameters()).device
        rows = [(i, opening) for i, (_, paths) in enumerate(asked) for opening in crossings(paths)]
        weighed: dict[tuple[int, tuple[int, ...]], Any] = {}
        for start in range(0, len(rows), PROMPTS_AT_ONCE):
            part = rows[start : start + PROMPTS_AT_ONCE]
            ids = [[*asked[i][0], *opening] for i, opening in part]
            length = max(map(len, ids))
            tokens = torch.tensor([own + [0] * (length - len(own)) for own in ids], device=device)
            mask = torch.tensor([[1] * len(own) + [0] * (length - len(own)) for own in ids], device=device)
            states = self._whole.get_base_model() if hasattr(self._whole, "get_base_model") else self._whole
            hidden = states.model(input_ids=tokens, attention_mask=mask, use_cache=False).last_hidden_state
            last = torch.tensor([len(own) - 1 for own in ids], device=device)
            found = states.get_output_embeddings()(hidden[torch.arange(len(ids), device=device), last]).float()
            weighed |= dict(zip(part, found, strict=True))
        return [self._paths(paths, {o: weighed[i, o] for o in crossings(paths)}) for i, (_, paths) in enumerate(asked)]

    @staticmethod
    def _paths(paths: Sequence[tuple[int, ...]], weighed: dict[tuple[int, ...], Any]) -> Any:
        """:func:`mmr5.engines.runtime.choices.path_logprobs`, with a gradient; (choices,)."""
        torch = import_torch()
        totals = [torch.zeros((), device=next(iter(weighed.values())).device) for _ in paths]
        for opening, tokens in crossings(paths).items():
            shares = dict(zip(tokens, weighed[opening][tokens].log_softmax(0), strict=True))
            for k, path in enumerate(paths):
                if len(path) > len(opening) and path[: len(opening)] == opening:
                    totals[k] = totals[k] + shares[path[len(opening)]]
        return torch.stack(totals)

    def state(self) -> dict[str, Any]:
        """The adapter's tensors, or all."""
        return {name: value for name, value in self._whole.named_parameters() if value.requires_grad}

    def save(self, out: Path) -> None:
        """An adapter or the whole model, with the recipe of stage one; what scores mean has to be fitted again."""
        self._whole.save_pretrained(out)
        base_model.save_processor(self._engine.processor, out)
        said: dict[str, Any] = {"method": self._method, "view": "text", "calibrations": ()}
        if self._settings.page_tokens:
            said["page_tokens"] = self._settings.page_tokens
        write_text(out / RECIPE, dataclasses.replace(self._recipe, **said).to_json())


class PairModel:
    """A cross-encoder over page text, all of whose weights learn."""

    def __init__(self, config: OrderTrainingConfig, progress: Progress | None) -> None:
        reranker = Reranker.from_pretrained(
            config.model.start,
            engine="cross-encoder",
            view="text",
            device=config.model.device,
            dtype="float32",
            progress=progress,
        )
        engine: Any = reranker.engine
        self._engine = engine
        self._settings: MethodSettings = reranker.settings
        self._model = engine.weights
        self._rate = config.optim.learning_rate
        for value in self._model.parameters():
            value.requires_grad_(True)
        self.lists = corpus_lists(config, progress, self._ask)

    def _ask(self, candidates: Candidates) -> list[tuple[str, str]]:
        shown = [cross_encoder.document(self._engine, candidates.query, page, self._settings)[0] for page in candidates.pages]
        return [(candidates.query, text or "") for text in shown]

    def groups(self) -> list[dict[str, Any]]:
        """All weights."""
        return [{"params": list(self._model.parameters()), "lr": self._rate}]

    def scores(self, one: QuestionList) -> Any:
        """The score of each pair before any activation function."""
        torch = import_torch()
        pairs, _ = one.held
        found = []
        for start in range(0, len(pairs), PAIRS_AT_ONCE):
            given = self._model.preprocess(list(pairs[start : start + PAIRS_AT_ONCE]))
            moved = {name: v.to(self._model.device) if torch.is_tensor(v) else v for name, v in given.items()}
            found.append(self._model(moved)["scores"].float().reshape(-1))
        return torch.cat(found)

    def state(self) -> dict[str, Any]:
        """All weights."""
        return dict(self._model.named_parameters())

    def save(self, out: Path) -> None:
        """As sentence-transformers keeps it; load it with engine ``cross-encoder``."""
        self._model.save_pretrained(str(out), create_model_card=False)


def corpus_lists(config: OrderTrainingConfig, progress: Progress | None, ask: Callable[[Candidates], Any]) -> list[QuestionList]:
    """The lists of the corpora: each question's best pages by the first stage.

    Args:
        config: names corpora and first stage.
        progress: told of documents.
        ask: makes of a list what the model needs to score it.

    Raises:
        ConfigError: a first stage whose scores have no scale.
    """
    data, found = config.data, []
    for name in data.corpora:
        corpus = load_corpus(name).split(data.split or None)
        documents: Sequence[tuple[Document, Any]] = [
            (document, asked) for document, asked in corpus.by_document() if _taught(config, document.doc_name)
        ]
        for done, (document, questions) in enumerate(documents):
            if progress is not None:
                progress("first stage", done, len(documents))
            pages = corpus.document_pages(document.doc_name)
            found += _document_lists(config, document.doc_name, questions, pages, ask)
    return found


def _document_lists(
    config: OrderTrainingConfig, doc_name: str, questions: Iterable[Any], pages: Sequence[Page], ask: Callable[[Candidates], Any]
) -> list[QuestionList]:
    index = open_retriever(config.data.retriever, pages)
    if index.scale is None:
        raise ConfigError(f"data.retriever is {config.data.retriever!r}, whose scores have no scale: use hybrid, bm25 or dense")
    found = []
    for question in questions:
        candidates = find_candidates(question.question, pages, index, config.data.depth)
        listed = [candidates.index_of(i) for i in range(len(candidates))]
        relevant = tuple(page in question.page_ids for page in listed)
        if useful(relevant, bool(question.page_ids), unanswerable=config.data.unanswerable):
            first = tuple(index.scale * s for s in candidates.scores or ())
            found.append(QuestionList(question.qid, doc_name, relevant, bool(question.page_ids), (ask(candidates), first)))
    return found


def useful(relevant: Sequence[bool], answerable: bool, *, unanswerable: bool) -> bool:
    """Whether a list teaches anything: some of its pages are relevant and some are not, or that none answers counts."""
    return (any(relevant) and not all(relevant)) or (unanswerable and bool(relevant) and not answerable)


def _taught(config: OrderTrainingConfig, doc_name: str) -> bool:
    data = config.data
    return doc_name not in data.leave_out and (not data.only or doc_name in data.only)
