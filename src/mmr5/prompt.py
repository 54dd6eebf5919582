"""Candidates → chat messages: the only file that knows the prompt's words and where pages go.

The list-wise prompt of the image view is, to the letter, the one that the checkpoint ``i2vec/MM-R5`` was published with
(github i2vec/MM-R5, MIT licence, Copyright its authors; see NOTICE). It is an interface: the missing space before
"For example" belongs to it, and nothing stands after the last image. The text view says "page" for "image"; the view
``both`` adds each page's text after its image.

Text from pages and questions can never open or close a chat turn, an image slot or an answer, nor forge the label of another
page: :func:`neutralise` and :func:`unlabelled` break such strings with one space.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Literal

from mmr5.answer import VERDICTS
from mmr5.errors import ConfigError
from mmr5.types import ImageSource, Message, View

Ids = Literal["numbers", "letters"]
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
Method = Literal["reason", "direct", "logits", "pointwise", "likelihood"]
LISTWISE = ("reason", "direct", "logits")
METHODS = ("reason", "direct", "logits", "pointwise", "likelihood")
"""Methods of language models; each has a prompt."""
VIEWS = ("image", "text", "both")

# --- the released prompt (i2vec/MM-R5, MIT), word for word -----------------------------------------------------------
SYSTEM_REASON = (
    "A conversation between User and Assistant. The user asks a question, and the Assistant solves it. The assistant first "
    "thinks about the reasoning process in the mind and then provides the user with the answer. The reasoning process and "
    "answer are enclosed within <think> </think> and <answer> </answer> tags, respectively, i.e., <think> reasoning process "
    "here </think><answer> answer here </answer>"
)
TASK_REASON = (
    "Please rank the following images according to their relevance to the question. Provide your response in the format: "
    "<think>your reasoning process here</think><answer>[image_id_1, image_id_2, ...]</answer> where the numbers in the list "
    "represent the ranking order of images'id from most to least relevant. Before outputting the answer, you need to analyze "
    "each image and provide your analysis process.For example: <think>Image 1 shows the most relevant content because..."
    "</think><answer>[id_most_relevant, id_second_relevant, ...]</answer>\n"
)
QUESTION = "The question is: {question}\n\nThere are {n} images, id from 1 to {n}, Image ID to image mapping:\n"
# --- end of the released prompt --------------------------------------------------------------------------------------

SYSTEM_DIRECT = (
    "A conversation between User and Assistant. The user asks a question, and the Assistant solves it. The answer is enclosed "
    "within <answer> </answer> tags, i.e., <answer> answer here </answer>"
)
TASK_DIRECT = (
    "Please rank the following images according to their relevance to the question. Provide your response in the format: "
    "<answer>[image_id_1, image_id_2, ...]</answer> where the numbers in the list represent the ranking order of images'id from "
    "most to least relevant. Output the answer only. For example: <answer>[id_most_relevant, id_second_relevant, ...]</answer>\n"
)
ANSWER_PREFILL = "<answer>["
"""The opening of the assistant's turn after which method ``logits`` scores the ids."""

SYSTEM_POINTWISE = "You judge whether a page of a document answers a question."
TASK_POINTWISE = (
    "Does the page answer the question? Begin with Yes or No, then say in one sentence what the page shows that answers it, "
    "or what it shows instead."
)

TASK_LIKELIHOOD = "Write a question that is answered by this page."

_TAGS = ("think", "answer", "image", "img", "video", "audio", "tool_call", "tool_response", "s", "bos", "eos", "unk", "pad",
         "mask", "start_of_turn", "end_of_turn", "start_of_image", "end_of_image", "image_soft_token")  # fmt: skip
_SPECIAL = re.compile(r"<(?=[|｜])|[|｜](?=>)|<(?=/?(?:" + "|".join(_TAGS) + r")\s*/?>)", re.IGNORECASE)
_LINE_START = r"(?:\A|(?<=[\n\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029]))[^\S\n\r]*"
_OWN_LABELS = (r"(?:text of )?(?:image|page) ", ":")
"""What stands before and behind a page's id in this project's labels."""


@dataclass(frozen=True, slots=True)
class Wording:
    """The words of a prompt where they are not this project's own, so that a reranker taught otherwise is a recipe, not code.

    A field that is None keeps this project's words. ``{question}``, ``{n}`` (number of pages), ``{id}`` (of a page) and
    ``{instruction}`` are filled in; a page's picture or text stands behind its label.

    Attributes:
        system: the system message; ``""`` for none.
        head: before the pages.
        page: label of each page.
        text: label of a page's text behind its picture (view ``both``).
        tail: after the pages.
        prefill: opening of the assistant's turn behind which choices are weighed (``logits``, ``pointwise``).
        choice: what is weighed for each page behind it (``logits``), with ``{id}``; none may begin another.
        verdicts: what is weighed (``pointwise``): relevant, not relevant.
        instruction: what stands for ``{instruction}`` where a request gives none; "" without one.

    Raises:
        ConfigError: a placeholder that is not known.
    """

    system: str | None = None
    head: str | None = None
    page: str | None = None
    text: str | None = None
    tail: str | None = None
    prefill: str | None = None
    choice: str | None = None
    verdicts: tuple[str, str] | None = None
    instruction: str | None = None

    def __post_init__(self) -> None:
        for name in ("system", "head", "page", "text", "tail", "prefill", "choice", "instruction"):
            value: Any = getattr(self, name)
            if value is not None and not isinstance(value, str):
                raise ConfigError(f"prompt.{name} is {value!r}: give a text")
            strange = sorted(set(_PLACEHOLDER.findall(value or "")) - _FILLED.get(name, _ANY))
            if strange:
                raise ConfigError(
                    f"prompt.{name} holds {', '.join(strange)}: known there are {', '.join(sorted(_FILLED[name])) or 'none'}"
                )
        if self.verdicts is not None:
            given: Any = self.verdicts
            if not isinstance(given, list | tuple) or len(given) != 2 or not all(isinstance(v, str) and v for v in given):
                raise ConfigError(f'prompt.verdicts is {given!r}: give two texts, e.g. ["yes", "no"]')
            object.__setattr__(self, "verdicts", tuple(given))
        if self.choice is not None and "{id}" not in self.choice:
            raise ConfigError(f"prompt.choice is {self.choice!r}: it names a page by {{id}}")

    @property
    def takes_instruction(self) -> bool:
        """Whether there is a place for an instruction."""
        return any("{instruction}" in (words or "") for words in (self.system, self.head, self.tail))

    def instructed(self, instruction: str | None) -> Wording:
        """The same words with a request's own instruction; None, or no place for it, keeps the recipe's."""
        return self if instruction is None or not self.takes_instruction else replace(self, instruction=instruction)


_PLACEHOLDER = re.compile(r"\{(?:question|n|id|instruction)\}")
_FILLED = {
    "system": frozenset({"{instruction}"}), "head": frozenset({"{question}", "{n}", "{instruction}"}),
    "page": frozenset({"{id}", "{n}"}), "text": frozenset({"{id}"}), "tail": frozenset({"{question}", "{n}", "{instruction}"}),
    "prefill": frozenset(), "choice": frozenset({"{id}"}),
}  # fmt: skip
_ANY = frozenset({"{question}", "{n}", "{id}", "{instruction}"})
"""An instruction is a caller's own text, in which nothing is filled."""
OWN = Wording()
"""This project's own words in all places."""


def check_wording(method: str, wording: Wording) -> None:
    """Refuse words in which the question has no place, or a place that the method does not fill.

    Raises:
        ConfigError: they are so.
    """
    own = {"pointwise": ("", "{question}"), "likelihood": ("", "")}.get(method, ("{question}", ""))
    words = _or(wording.head, own[0]) + _or(wording.tail, own[1])
    if method == "likelihood":
        if "{" in words and _PLACEHOLDER.search(words):
            raise ConfigError(
                "prompt.head or prompt.tail holds a placeholder: method 'likelihood' asks for the question, and fills in none"
            )
    elif "{question}" not in words:
        raise ConfigError(f"prompt.head and prompt.tail give no {{question}} for method {method!r}: say where it stands")


def page_id(number: int, ids: Ids) -> str:
    """How the prompt calls the page of that place (from 1): its number, or a letter.

    Raises:
        ConfigError: there are not as many letters.
    """
    if ids == "numbers":
        return str(number)
    if number > len(LETTERS):
        raise ConfigError(f"page {number} has no letter: use a window of at most {len(LETTERS)} pages with ids 'letters'")
    return LETTERS[number - 1]


def neutralise(text: str, reserved: Sequence[str] = ()) -> str:
    """Break every string that could act as a special token or tag, by one space after its first character.

    Args:
        text: a question or the text of a page.
        reserved: further special tokens, those of the model in use.

    Returns:
        The text with nothing else changed; applying it twice changes nothing more.
    """
    text = _SPECIAL.sub(lambda m: m[0] + " ", text)
    for token in reserved:
        if len(token) > 1 and not token.isalnum() and token in text:
            text = text.replace(token, f"{token[0]} {token[1:]}")
    return text


def unlabelled(text: str, wording: Wording = OWN, ids: Ids = "numbers") -> str:
    """A text in which no line begins as the label of a candidate does (``Page 2:``): such words are broken by one space, too."""
    return _labels(wording, ids).sub(lambda m: f"{m[1]}{m[2][0]} {m[2][1:]}", text)


@cache
def _labels(wording: Wording, ids: Ids) -> re.Pattern[str]:
    """Beginnings of lines that are labels of pages, in these words."""
    kinds = [_OWN_LABELS]
    for given in (wording.page, wording.text):
        before, found, after = (given or "").partition("{id}")
        if found:
            kinds.append((re.escape(before.lstrip().split("\n")[-1].lstrip()), re.escape(after.strip().split("\n")[0][:1])))
    name = r"\d+" if ids == "numbers" else r"(?:\d+|[A-Z])"
    ways = "|".join(f"{before}{name}{after}" for before, after in kinds if before or after)
    return re.compile(f"({_LINE_START})({ways})", re.IGNORECASE)


def label(view: View) -> str:
    """The word before a page's number: ``"Image"``, or ``"Page"`` where the model sees text alone."""
    return "Page" if view == "text" else "Image"


def listwise(
    query: str,
    *,
    view: View,
    think: bool,
    images: Sequence[ImageSource] | None = None,
    texts: Sequence[str] | None = None,
    reserved: Sequence[str] = (),
    wording: Wording = OWN,
    ids: Ids = "numbers",
) -> list[Message]:
    """The prompt over all candidates (paper Fig. 3).

    Args:
        query: the question.
        view: ``image`` needs ``images``, ``text`` needs ``texts``, ``both`` needs both, N of each.
        think: ask for reasoning before the answer (``reason``), or for the answer alone (``direct``, ``logits``).
        images: N pictures in candidate order.
        texts: N page texts in candidate order, already cut to their budget.
        reserved: the model's own special tokens.
        wording: other words.
        ids: how the pages are called.

    Returns:
        A system and a user message; the user's content is structured, each picture behind its ``Image i:`` label.
    """
    n = _count(view, images, texts)
    system, task = (SYSTEM_REASON, TASK_REASON) if think else (SYSTEM_DIRECT, TASK_DIRECT)
    head = _or(wording.head, _worded(task, view) + _worded(QUESTION, view))
    if ids == "letters" and wording.head is None:
        head = head.replace("id from 1 to {n}", f"id from A to {page_id(max(n, 1), ids)}")
    question = unlabelled(neutralise(query, reserved), wording, ids)
    instruction = neutralise(wording.instruction or "", reserved)
    content = [_text(_filled(head, question, n, instruction))] if head else []
    label = _or(wording.page, "\nPage {id}: " if view == "text" else "\nImage {id}: ")
    text_label = _or(wording.text, "\nText of image {id}: ")
    for i in range(n):
        name = page_id(i + 1, ids)
        lead = label.replace("{id}", name).replace("{n}", str(n))
        text = None if texts is None else unlabelled(neutralise(texts[i], reserved), wording, ids)
        content += _shown(view, None if images is None else images[i], text, lead, text_label.replace("{id}", name))
    if wording.tail:
        content.append(_text(_filled(wording.tail, question, n, instruction)))
    return _messages(_or(wording.system, system).replace("{instruction}", instruction), content)


def pointwise(
    query: str,
    *,
    view: View,
    image: ImageSource | None = None,
    text: str | None = None,
    reserved: Sequence[str] = (),
    wording: Wording = OWN,
) -> list[Message]:
    """The prompt over one page that asks for a verdict and a note (paper section 3.2.1, one page at a time).

    The page stands before the question, so that its states can be reused for other questions.
    """
    question, instruction = neutralise(query, reserved), neutralise(wording.instruction or "", reserved)
    head = [_text(_filled(wording.head, question, 1, instruction))] if wording.head else []
    tail = _or(wording.tail, "\n\nQuestion: {question}\n" + TASK_POINTWISE)
    content = [
        *head,
        *_single(view, image, text, reserved, wording),
        *([_text(_filled(tail, question, 1, instruction))] if tail else []),
    ]
    return _messages(_or(wording.system, SYSTEM_POINTWISE).replace("{instruction}", instruction), content)


def likelihood(
    *,
    view: View,
    image: ImageSource | None = None,
    text: str | None = None,
    reserved: Sequence[str] = (),
    wording: Wording = OWN,
) -> list[Message]:
    """The prompt over one page after which the likelihood of the question is measured."""
    head = [_text(wording.head)] if wording.head else []
    tail = _or(wording.tail, f"\n\n{TASK_LIKELIHOOD}")
    content = [*head, *_single(view, image, text, reserved, wording), *([_text(tail)] if tail else [])]
    return _messages(wording.system or "", content)


def placeholders(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """The messages as plain JSON: each picture is replaced by ``{"type": "image"}`` and its content key."""
    return [
        {
            "role": m["role"],
            "content": [{"type": "image", "key": p["image"].key} if p["type"] == "image" else p for p in m["content"]],
        }
        for m in messages
    ]


@cache
def fingerprint(method: str, view: View, wording: Wording = OWN, ids: Ids = "numbers") -> str:
    """Sixteen hex digits that change when the words or the order of a prompt change.

    Raises:
        ConfigError: an unknown method or view.
    """
    if method not in METHODS or view not in VIEWS:
        raise ConfigError(f"method {method!r} with view {view!r}: methods are {', '.join(METHODS)}, views are {', '.join(VIEWS)}")
    images = None if view == "text" else [_Sample("a"), _Sample("b")]
    texts = None if view == "image" else ["first text", "second text"]
    if method in LISTWISE:
        messages = listwise(
            "question?", view=view, think=method == "reason", images=images, texts=texts, wording=wording, ids=ids
        )
        opening = _or(wording.prefill, ANSWER_PREFILL) if method == "logits" else ""
    else:
        image, text = images[0] if images else None, texts[0] if texts else None
        if method == "pointwise":
            messages = pointwise("question?", view=view, image=image, text=text, wording=wording)
            opening = (wording.prefill or "") + "/".join(wording.verdicts or VERDICTS)
        else:
            messages, opening = likelihood(view=view, image=image, text=text, wording=wording), ""
    blob = json.dumps([placeholders(messages), opening], ensure_ascii=False, sort_keys=True)
    return hashlib.sha256(blob.encode()).hexdigest()[:16]


class _Sample:
    """A picture that is only a name, for fingerprints."""

    def __init__(self, key: str) -> None:
        self.key = key

    def load(self, max_pixels: int | None = None) -> Any:
        raise ConfigError("a fingerprint's sample picture has no pixels")


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def _image(image: ImageSource) -> dict[str, Any]:
    return {"type": "image", "image": image}


def _worded(template: str, view: View) -> str:
    """The released words, saying "page" for "image" in the text view."""
    if view != "text":
        return template
    return template.replace("images", "pages").replace("image", "page").replace("Image", "Page")


def _count(view: View, images: Sequence[ImageSource] | None, texts: Sequence[str] | None) -> int:
    needed = {"image": (images,), "text": (texts,), "both": (images, texts)}[view]
    lengths = {None if given is None else len(given) for given in needed}
    if None in lengths or len(lengths) != 1:
        raise ConfigError(
            f"view {view!r} with {_len(images)} images and {_len(texts)} texts: give one of each kind that it needs a page"
        )
    return lengths.pop() or 0


def _len(given: Sequence[object] | None) -> str:
    return "no" if given is None else str(len(given))


def _or(given: str | None, own: str) -> str:
    return own if given is None else given


def _filled(words: str, question: str, n: int, instruction: str) -> str:
    """Words with their placeholders filled in, in one pass, so that what is filled in is not filled again."""
    values = {"{n}": str(n), "{question}": question, "{instruction}": instruction}
    return _PLACEHOLDER.sub(lambda found: values.get(found[0], found[0]), words)


def _messages(system: str, content: list[dict[str, Any]]) -> list[Message]:
    first = [{"role": "system", "content": [_text(system)]}] if system else []
    return [*first, {"role": "user", "content": content}]


def _shown(view: View, image: ImageSource | None, text: str | None, label: str, text_label: str) -> list[dict[str, Any]]:
    """One page behind its label: its picture, its text, or both."""
    if view == "text" or image is None:
        return [_text(label + (text or ""))]
    parts = [*([_text(label)] if label else []), _image(image)]
    if view == "both":
        parts.append(_text(text_label + (text or "")))
    return parts


def _single(
    view: View, image: ImageSource | None, text: str | None, reserved: Sequence[str], wording: Wording
) -> list[dict[str, Any]]:
    _count(view, None if image is None else [image], None if text is None else [text])
    shown = None if text is None else neutralise(text, reserved)
    label = _or(wording.page, "Page: ").replace("{id}", "1").replace("{n}", "1")
    return _shown(view, image, shown, label, _or(wording.text, "\nText of the page: ").replace("{id}", "1"))
