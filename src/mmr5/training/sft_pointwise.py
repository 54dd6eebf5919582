"""Stage one for pages judged one by one: supervised training with a loss that compares the pages of a question.

The teacher of the paper explains one page at a time, guided by its label (section 3.2.1); method ``pointwise`` answers in the
same way: a verdict, then a sentence. A language-model loss alone teaches the verdict as two tokens of many. Here the pages of one
question stand in one batch, a relevant one and others that the first stage proposed, and three losses are summed, each with its
weight (:class:`mmr5.training.config.GroupConfig`):

* *lce*: Localized Contrastive Estimation (Gao, Dai and Callan 2021, arXiv 2101.08751), the softmax cross-entropy of the relevant
  page among its group, ``-log(exp(s+) / sum(exp(s)))``, where the group's others are what the first stage proposed. (It is
  ListNet's top-one loss, Cao et al. 2007, for a target distribution that is 1 on the relevant page.) A score s is what the fused
  order is sorted by: the margin, the logit of "Yes" minus that of "No" where the reply begins; plus a share of the log-likelihood
  that the page gives to the question's own words in the prompt (query likelihood, Ponte and Croft 1998); plus a share of the
  first stage's score;
* *verdict*: the pointwise cross-entropy of monoBERT (Nogueira and Cho 2019, arXiv 1901.04085) with the two verdicts as classes.
  The softmax over their two logits is the sigmoid of the margin, so this is the binary cross-entropy of each margin;
* *note*: the language-model loss, the mean negative log-likelihood of the tokens after the verdict.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mmr5.answer import VERDICTS
from mmr5.data.rows import PageRow, Row
from mmr5.engines.chat_template import question_tokens
from mmr5.engines.loading import import_torch
from mmr5.errors import ConfigError, ContextLengthError
from mmr5.prompt import neutralise
from mmr5.training import base_model, preflight, row_dataset, trainer
from mmr5.training.config import GroupConfig, TrainingConfig

IGNORED = -100
Group = tuple[PageRow, ...]
"""Rows of one question; the first is relevant, the others are not."""


def make_groups(rows: Sequence[PageRow], pages: int, passes: int, seed: int) -> list[Group]:
    """Groups for several passes over all questions, in training order.

    Every pass draws anew: one relevant page, and up to ``pages - 1`` others. A question without a relevant or without an
    irrelevant row has no group.

    Args:
        rows: of any number of questions.
        pages: most rows in a group, at least 2.
        passes: how often each question comes, at least 1.
        seed: of the order and of the draws; the same seed gives the same groups.

    Raises:
        ConfigError: an impossible number, or no question has both kinds of rows.
    """
    if pages < 2 or passes < 1:
        raise ConfigError(f"groups of {pages} pages in {passes} passes: at least 2 pages and 1 pass")
    questions: dict[tuple[str, str], tuple[list[PageRow], list[PageRow]]] = {}
    for row in rows:
        questions.setdefault((row.doc_name, row.qid), ([], []))[0 if row.relevant else 1].append(row)
    whole = [(key, good, bad) for key, (good, bad) in questions.items() if good and bad]
    if not whole:
        raise ConfigError("no question has both a relevant and an irrelevant row: make the rows with 'mmr5 data rows'")
    made: list[Group] = []
    for number in range(passes):
        order = list(whole)
        random.Random(f"{seed}:{number}").shuffle(order)  # noqa: S311 - a seeded order
        for (doc_name, qid), good, bad in order:
            draw = random.Random(f"{seed}:{number}:{doc_name}:{qid}")  # noqa: S311 - seeded draws
            made.append((draw.choice(good), *draw.sample(bad, min(pages - 1, len(bad)))))
    return made


@dataclass(frozen=True, slots=True)
class Encoded:
    """One page of a group as tokens.

    Attributes:
        ids: prompt and reply.
        verdict: index of the prompt's last token, whose logits give the verdict.
        question: index of the question's first token in the prompt, and one past its last.
        note: index of the first token after the verdict.
        relevant: the label.
        first_stage: score of the first stage, of any size.
    """

    ids: tuple[int, ...]
    verdict: int
    question: tuple[int, int]
    note: int
    relevant: bool
    first_stage: float = 0.0


class Encoder:
    """Rows → tokens, rendered as the engine renders them at inference.

    Args:
        speech: makes the words, by a text checkpoint's tokenizer with offsets (a fast one).
        limit: most tokens of a row, or None.
    """

    def __init__(self, speech: row_dataset.Speech, limit: int | None) -> None:
        self._speech, self._tokenizer, self._limit = speech, base_model.tokenizer_of(speech.processor), limit

    def __call__(self, row: PageRow) -> Encoded:
        """The tokens of a row.

        Raises:
            ContextLengthError: there are more than the limit; nothing is cut.
        """
        rendered, opening = self._speech.prompt(row)
        coded = self._tokenizer(rendered, add_special_tokens=False, return_offsets_mapping=True)
        prompt = list(coded["input_ids"])
        question = question_tokens(rendered, neutralise(row.question, self._speech.talk.reserved), coded["offset_mapping"])
        reply = self._tokenizer(self._speech.completion(row, opening), add_special_tokens=False)["input_ids"]
        ids = (*prompt, *reply)
        if self._limit is not None and len(ids) > self._limit:
            raise ContextLengthError(
                f"{row.qid}, page id {row.page_id}, has {len(ids)} tokens, more than {self._limit}: lower recipe.page_tokens, or "
                "raise data.max_tokens; nothing is cut"
            )
        return Encoded(ids, len(prompt) - 1, question, len(prompt) + 1, row.relevant, row.score)


class GroupData:
    """Groups, tokenised when they are asked for (a ``torch`` map-style dataset)."""

    def __init__(self, groups: Sequence[Group], encoder: Encoder) -> None:
        self._groups, self._encoder = groups, encoder

    def __len__(self) -> int:
        return len(self._groups)

    def __getitem__(self, number: int) -> list[Encoded]:
        return [self._encoder(row) for row in self._groups[number]]


def collate(groups: Sequence[Sequence[Encoded]], pad: int) -> dict[str, Any]:
    """Right-padded tokens of all pages, and where to look.

    Returns:
        ``input_ids`` (pages, longest); ``verdict`` (pages,) indices; ``relevant`` (pages,) of 0 and 1; ``first_stage`` (pages,)
        scores; ``group`` (pages,) number of each page's group; ``question`` and ``note`` (pages, longest): the token to predict
        *after* each place, or -100.
    """
    torch = import_torch()
    pages = [page for group in groups for page in group]
    longest = max(len(page.ids) for page in pages)
    ids = torch.full((len(pages), longest), pad)
    question, note = torch.full_like(ids, IGNORED), torch.full_like(ids, IGNORED)
    for i, page in enumerate(pages):
        tokens = torch.tensor(page.ids)
        ids[i, : len(tokens)] = tokens
        start, stop = page.question
        question[i, start - 1 : stop - 1] = tokens[start:stop]
        note[i, page.note - 1 : len(tokens) - 1] = tokens[page.note :]
    return {
        "input_ids": ids,
        "verdict": torch.tensor([page.verdict for page in pages]),
        "relevant": torch.tensor([float(page.relevant) for page in pages]),
        "first_stage": torch.tensor([page.first_stage for page in pages]),
        "group": torch.tensor([number for number, group in enumerate(groups) for _ in group]),
        "question": question,
        "note": note,
    }


def losses(hidden: Any, head: Any, batch: dict[str, Any], choices: tuple[int, int], shares: GroupConfig) -> dict[str, Any]:
    """The three losses of a batch, unweighted, each a mean over groups, pages or tokens.

    Args:
        hidden: last hidden states, (pages, length, width).
        head: maps hidden states to logits.
        batch: as :func:`collate` made it.
        choices: token ids of the two verdicts, "Yes" first.
        shares: what a score is the sum of.

    Returns:
        ``lce``, ``verdict``, ``note``, scalars; the share of groups whose relevant page leads: ``hits`` by score,
        ``margin_hits`` by margin, ``question_hits`` by the question's log-likelihood.
    """
    torch = import_torch()
    functional = torch.nn.functional
    rows = torch.arange(hidden.shape[0], device=hidden.device)
    logits = head(hidden[rows, batch["verdict"]]).float()
    margin = logits[:, choices[0]] - logits[:, choices[1]]
    asked = _token_logprobs(hidden, head, batch["question"])
    written = batch["note"] != IGNORED
    members = [torch.nonzero(batch["group"] == g).flatten() for g in batch["group"].unique()]
    answers = [int(batch["relevant"][where].argmax()) for where in members]
    score = margin + shares.question_share * asked + shares.first_stage_share * batch["first_stage"]

    def leads(values: Any) -> Any:
        return torch.tensor([float(int(values[w].argmax()) == a) for w, a in zip(members, answers, strict=True)]).mean()

    return {
        "lce": torch.stack([-score[w].log_softmax(0)[a] for w, a in zip(members, answers, strict=True)]).mean(),
        "verdict": functional.binary_cross_entropy_with_logits(margin, batch["relevant"]),
        "note": functional.cross_entropy(head(hidden[written]).float(), batch["note"][written]),
        "hits": leads(score),
        "margin_hits": leads(margin),
        "question_hits": leads(asked),
    }


def _token_logprobs(hidden: Any, head: Any, labels: Any) -> Any:
    """Sum of the log-probabilities of each row's labelled tokens, (pages,)."""
    torch = import_torch()
    where = labels != IGNORED
    picked = head(hidden[where]).float().log_softmax(-1).gather(-1, labels[where].unsqueeze(-1)).squeeze(-1)
    rows = torch.nonzero(where)[:, 0]
    return torch.zeros(labels.shape[0], device=hidden.device).index_add(0, rows, picked)


def verdict_ids(tokenizer: Any) -> tuple[int, int]:
    """Token ids of the two verdicts.

    Raises:
        ConfigError: a verdict is more than one token, so that its first logit says nothing of the whole.
    """
    ids = [tokenizer(word, add_special_tokens=False)["input_ids"] for word in VERDICTS]
    if any(len(found) != 1 for found in ids):
        raise ConfigError(f"the tokenizer splits {' or '.join(VERDICTS)} into several tokens: train with groups.pages = 0")
    return ids[0][0], ids[1][0]


def make_trainer(run: trainer.Run) -> Any:
    """A Hugging Face trainer with the losses above, over the run's groups in order.

    Raises:
        ConfigError: rows or settings that have no groups.
    """
    from transformers import Trainer, TrainingArguments

    config, tokenizer, model = run.config, run.tokenizer, run.model
    rows = check(config, run.rows)
    encoder = Encoder(run.speech, row_dataset.token_limit(config, base_model.context_of(model)))
    groups = make_groups(rows, config.groups.pages, round(config.optim.epochs), config.optim.seed)
    preflight.check_pages(run, encoder(groups[0][0]), groups[0][0])
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    choices = verdict_ids(tokenizer)
    adapter = base_model.lora(config.lora, model)
    bare, model = model, model if adapter is None else base_model.wrap(model, adapter)

    class GroupTrainer(Trainer):  # type: ignore[misc]
        """Hugging Face's trainer hands a loss the logits of every token; these losses need few of them, and log their parts."""

        parts: dict[str, list[float]]

        def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None) -> Any:
            with self.accelerator.autocast():
                hidden = bare.model(input_ids=inputs["input_ids"], use_cache=False).last_hidden_state
                found = losses(hidden, bare.get_output_embeddings(), inputs, choices, config.groups)
            for name, value in found.items():
                self.parts.setdefault(name, []).append(float(value.detach()))
            return weigh(found, config.groups)

        def log(self, logs: dict[str, float], *rest: Any, **named: Any) -> None:
            if "loss" in logs:
                logs = {**logs, **{name: sum(v) / len(v) for name, v in self.parts.items() if v}}
                self.parts.clear()
            super().log(logs, *rest, **named)

    own = {"num_train_epochs": 1, "activation_checkpointing": False, "train_sampling_strategy": "sequential"}
    made = GroupTrainer(
        model=model,
        args=TrainingArguments(**trainer.arguments(config) | own),
        train_dataset=GroupData(groups, encoder),
        data_collator=lambda batch: collate(batch, pad),
        processing_class=run.processor,
        optimizers=(trainer.loraplus(config, model) if config.lora.plus_ratio else None, None),
        callbacks=trainer.callbacks(run),
    )
    made.parts = {}
    made.model_accepts_loss_kwargs = False
    return made


def weigh(found: dict[str, Any], weights: GroupConfig) -> Any:
    """The sum that is minimised."""
    return weights.lce_weight * found["lce"] + weights.verdict_weight * found["verdict"] + weights.note_weight * found["note"]


def check(config: TrainingConfig, rows: Sequence[Row]) -> list[PageRow]:
    """The rows, where they can be trained in groups.

    Raises:
        ConfigError: rows over lists, pictures, or passes that are no whole number.
    """
    pages = [row for row in rows if isinstance(row, PageRow)]
    if len(pages) < len(rows):
        raise ConfigError(
            "groups.pages is set, and the rows are list-wise: make rows of kind 'pointwise', or set groups.pages = 0"
        )
    if config.recipe.view != "text":
        raise ConfigError(f"groups.pages is set with view {config.recipe.view!r}: groups are trained over page text; use 'text'")
    if config.optim.epochs != round(config.optim.epochs):
        raise ConfigError(f"optim.epochs is {config.optim.epochs} with groups.pages: give a whole number of passes")
    return pages
