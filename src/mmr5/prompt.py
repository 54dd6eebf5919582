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
from functools import cache
from typing import Any, Literal

from mmr5.answer import VERDICTS
from mmr5.errors import ConfigError
from mmr5.types import ImageSource, Message, View

Method = Literal["reason", "direct", "logits", "pointwise", "likelihood"]
LISTWISE = ("reason", "direct", "logits")
METHODS = ("reason", "direct", "logits", "pointwise", "likelihood")
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
_LABEL = re.compile(r"^([^\S\n]*)([IPT])(?=(?:mage|age|ext of (?:image|page)) \d+:)", re.IGNORECASE | re.MULTILINE)
"""The first letter of a line that begins as the label of a page does in the prompt."""


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


def unlabelled(text: str) -> str:
    """A text in which no line begins as the label of a candidate does (``Page 2:``): such words are broken by one space, too."""
    return _LABEL.sub(lambda m: f"{m[1]}{m[2]} ", text)


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
) -> list[Message]:
    """The prompt over all candidates (paper Fig. 3).

    Args:
        query: the question.
        view: ``image`` needs ``images``, ``text`` needs ``texts``, ``both`` needs both, N of each.
        think: ask for reasoning before the answer (``reason``), or for the answer alone (``direct``, ``logits``).
        images: N pictures in candidate order.
        texts: N page texts in candidate order, already cut to their budget.
        reserved: the model's own special tokens.

    Returns:
        A system and a user message; the user's content is structured, each picture behind its ``Image i:`` label.
    """
    n = _count(view, images, texts)
    system, task = (SYSTEM_REASON, TASK_REASON) if think else (SYSTEM_DIRECT, TASK_DIRECT)
    question = unlabelled(neutralise(query, reserved))
    head = _worded(task, view) + _worded(QUESTION, view).replace("{n}", str(n)).replace("{question}", question)
    content = [_text(head)]
    for i in range(n):
        content += _page(i + 1, view, images, texts, reserved)
    return [{"role": "system", "content": [_text(system)]}, {"role": "user", "content": content}]


def pointwise(
    query: str, *, view: View, image: ImageSource | None = None, text: str | None = None, reserved: Sequence[str] = ()
) -> list[Message]:
    """The prompt over one page that asks for a verdict and a note (paper section 3.2.1, one page at a time).

    The page stands before the question, so that its states can be reused for other questions.
    """
    content = [
        *_single(view, image, text, reserved),
        _text(f"\n\nQuestion: {neutralise(query, reserved)}\n{TASK_POINTWISE}"),
    ]
    return [{"role": "system", "content": [_text(SYSTEM_POINTWISE)]}, {"role": "user", "content": content}]


def likelihood(
    *, view: View, image: ImageSource | None = None, text: str | None = None, reserved: Sequence[str] = ()
) -> list[Message]:
    """The prompt over one page after which the likelihood of the question is measured."""
    return [{"role": "user", "content": [*_single(view, image, text, reserved), _text(f"\n\n{TASK_LIKELIHOOD}")]}]


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
def fingerprint(method: str, view: View) -> str:
    """Sixteen hex digits that change when the words or the order of a prompt change.

    Raises:
        ConfigError: an unknown method or view.
    """
    if method not in METHODS or view not in VIEWS:
        raise ConfigError(f"method {method!r} with view {view!r}: methods are {', '.join(METHODS)}, views are {', '.join(VIEWS)}")
    images = None if view == "text" else [_Sample("a"), _Sample("b")]
    texts = None if view == "image" else ["first text", "second text"]
    if method in LISTWISE:
        messages = listwise("question?", view=view, think=method == "reason", images=images, texts=texts)
        opening = ANSWER_PREFILL if method == "logits" else ""
    else:
        image, text = images[0] if images else None, texts[0] if texts else None
        messages = (
            pointwise("question?", view=view, image=image, text=text)
            if method == "pointwise"
            else likelihood(view=view, image=image, text=text)
        )
        opening = "/".join(VERDICTS) if method == "pointwise" else ""
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


def _page(
    number: int, view: View, images: Sequence[ImageSource] | None, texts: Sequence[str] | None, reserved: Sequence[str]
) -> list[dict[str, Any]]:
    text = "" if texts is None else unlabelled(neutralise(texts[number - 1], reserved))
    if view == "text" or images is None:
        return [_text(f"\nPage {number}: {text}")]
    parts = [_text(f"\nImage {number}: "), _image(images[number - 1])]
    if view == "both":
        parts.append(_text(f"\nText of image {number}: {text}"))
    return parts


def _single(view: View, image: ImageSource | None, text: str | None, reserved: Sequence[str]) -> list[dict[str, Any]]:
    _count(view, None if image is None else [image], None if text is None else [text])
    parts = [] if view == "text" or image is None else [_text("Page: "), _image(image)]
    if view != "image" and text is not None:
        lead = "\nText of the page: " if parts else "Page: "
        parts.append(_text(lead + neutralise(text, reserved)))
    return parts
