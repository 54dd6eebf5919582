"""Supervised training of pages judged one by one, with a loss that compares the pages of a question.

The teacher of the paper explains one page at a time, guided by its label (section 3.2.1); method ``pointwise`` answers in the
same way: a verdict, then a sentence. A language-model loss alone teaches the verdict as two tokens of many. Here the pages of one
question stand in one batch, and three losses are summed, each with its weight (:class:`mmr5.training.config.GroupConfig`):

* *rank*: softmax cross-entropy over the group's scores. A score is what the fused order is sorted by: the margin, the logit of
  "Yes" minus that of "No" where the reply begins; plus a share of the log-likelihood that the page gives to the question's own
  words in the prompt (query likelihood); plus a share of the first stage's score;
* *verdict*: binary cross-entropy of each margin against the page's label;
* *note*: the language-model loss of the sentence after the verdict.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mmr5.answer import VERDICTS
from mmr5.data.conversations import Conversations
from mmr5.data.rows import PageRow
from mmr5.engines.loading import import_torch
from mmr5.engines.spans import question_tokens
from mmr5.errors import ConfigError, ContextLengthError
from mmr5.prompt import neutralise
from mmr5.training import loading, sources
from mmr5.training.config import GroupConfig, TrainingConfig
from mmr5.training.groups import Group, make_groups

IGNORED = -100


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
        talk: makes the messages.
        tokenizer: of a text checkpoint, with a chat template and offsets (a fast tokenizer).
        limit: most tokens of a row, or None.
    """

    def __init__(self, talk: Conversations, tokenizer: Any, limit: int | None) -> None:
        self._talk, self._tokenizer, self._limit = talk, tokenizer, limit

    def __call__(self, row: PageRow) -> Encoded:
        """The tokens of a row.

        Raises:
            ContextLengthError: there are more than the limit; nothing is cut.
        """
        chat = [sources.as_chat(m, seeing=False) for m in self._talk.prompt(row)]
        rendered = self._tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
        coded = self._tokenizer(rendered, add_special_tokens=False, return_offsets_mapping=True)
        prompt = list(coded["input_ids"])
        question = question_tokens(rendered, neutralise(row.question, self._talk.reserved), coded["offset_mapping"])
        reply = self._tokenizer(self._talk.target(row) or "", add_special_tokens=False)["input_ids"]
        ids = (*prompt, *reply, self._tokenizer.eos_token_id)
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
        ``rank``, ``verdict``, ``note``, scalars; the share of groups whose relevant page leads: ``hits`` by score,
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
        "rank": torch.stack([-score[w].log_softmax(0)[a] for w, a in zip(members, answers, strict=True)]).mean(),
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


def trainer(config: TrainingConfig, rows: Sequence[Any], model: Any, processor: Any, talk: Conversations, callbacks: Any) -> Any:
    """A Hugging Face trainer with the losses above.

    Raises:
        ConfigError: rows or settings that have no groups.
    """
    from transformers import Trainer, TrainingArguments

    from mmr5.training.sft import common, loraplus

    check(config, rows)
    tokenizer = getattr(processor, "tokenizer", processor)
    limits = [n for n in (config.data.max_tokens, loading.context_of(model)) if n]
    encoder = Encoder(talk, tokenizer, min(limits) if limits else None)
    groups = make_groups(rows, config.groups.pages, round(config.optim.epochs), config.optim.seed)
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    choices = verdict_ids(tokenizer)
    adapter = loading.lora(config.lora)
    if adapter is not None:
        model = loading.wrap(model, adapter)
    bare = model.get_base_model() if adapter is not None else model

    class GroupTrainer(Trainer):  # type: ignore[misc]
        parts: dict[str, list[float]]

        def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None) -> Any:
            with self.accelerator.autocast():
                hidden = bare.model(input_ids=inputs["input_ids"], use_cache=False).last_hidden_state
                found = losses(hidden, bare.get_output_embeddings(), inputs, choices, config.groups)
            for name, value in found.items():
                self.parts.setdefault(name, []).append(float(value.detach()))
            return weigh(found, config.groups)

        def _get_train_sampler(self, *_: Any) -> Any:
            return import_torch().utils.data.SequentialSampler(self.train_dataset)

        def log(self, logs: dict[str, float], *rest: Any, **named: Any) -> None:
            if "loss" in logs:
                logs = {**logs, **{name: sum(v) / len(v) for name, v in self.parts.items() if v}}
                self.parts.clear()
            super().log(logs, *rest, **named)

    arguments = common(config, gradient_checkpointing=False) | {"num_train_epochs": 1}
    made = GroupTrainer(
        model=model,
        args=TrainingArguments(**arguments),
        train_dataset=GroupData(groups, encoder),
        data_collator=lambda batch: collate(batch, pad),
        processing_class=processor,
        optimizers=(loraplus(config, model) if config.lora.plus_ratio else None, None),
        callbacks=callbacks,
    )
    made.parts = {}
    made.model_accepts_loss_kwargs = False
    return made


def weigh(found: dict[str, Any], weights: GroupConfig) -> Any:
    """The sum that is minimised."""
    return weights.rank_weight * found["rank"] + weights.verdict_weight * found["verdict"] + weights.note_weight * found["note"]


def check(config: TrainingConfig, rows: Sequence[Any]) -> None:
    """Refuse what cannot be trained in groups.

    Raises:
        ConfigError: rows over lists, pictures, or passes that are no whole number.
    """
    if any(not isinstance(row, PageRow) for row in rows):
        raise ConfigError(
            "groups.pages is set, and the rows are list-wise: make rows of kind 'pointwise', or set groups.pages = 0"
        )
    if config.recipe.view != "text":
        raise ConfigError(f"groups.pages is set with view {config.recipe.view!r}: groups are trained over page text; use 'text'")
    if config.optim.epochs != round(config.optim.epochs):
        raise ConfigError(f"optim.epochs is {config.optim.epochs} with groups.pages: give a whole number of passes")
