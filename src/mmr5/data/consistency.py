"""Does a note fit the label of its page? Pure rules over words, tuned to pass the annotators' own notes of opendocs.

They cannot judge what a page says; they find the two ways in which a teacher that was told the label goes wrong: a note that
says the opposite of the label, and one that talks about having been told.
"""

from __future__ import annotations

import re

MAX_WORDS = 90
"""A note with more words is no sentence any more."""

_TOLD = re.compile(
    r"""
    \bground[- ]truth\ (?:labels?|answers?|pages?|says|indicates|states)\b
    | \b(?:the|its|given|provided|gold)\ labels?\ (?:says?|states?|indicates?|tells?|marks?|is\ (?:ir)?relevant)\b
    | \blabel?led\ (?:as\ )?(?:not\ |ir|non-?)?relevant\b
    | \bmarked\ (?:as\ )?(?:not\ |ir|non-?)?relevant\b
    | \b(?:i|we)\ (?:was|were|am|are)\ (?:told|given|instructed)\b
    | \bas\ (?:instructed|you\ (?:said|stated|told))\b
    | \bas\ an\ ai\b
    | \b(?:per|according\ to|given)\ (?:the|your)\ (?:label|instruction|annotation)s?\b
    """,
    re.IGNORECASE | re.VERBOSE,
)
_TAG = re.compile(r"</?(?:think|answer)>", re.IGNORECASE)
_NEGATION = re.compile(
    r"\b(?:not|no|none|never|nothing|neither|nor|without|fails?\ to|lack\w*|instead\ of|rather\ than)\b|n['’]t\b", re.IGNORECASE
)
_QUESTION = r"(?:the|this|that|your|the\ reader['’]s)\ (?:question|query)"
_DENIES = re.compile(
    rf"""
    \b(?:irrelevant|unrelated|not\ relevant|not\ related|of\ no\ relevance)\ (?:to|for)\ {_QUESTION}
    | \b(?:page|it|this)\ is\ (?:irrelevant|unrelated|not\ relevant|not\ related)\b
    | \b(?:does|do|did|can|could|would|will)(?:\ not|n['’]t|not)\ (?:\w+\ )?(?:answer|address|help\ with)\ {_QUESTION}
    | \b(?:does|do|did|can|could|would|will)(?:\ not|n['’]t|not)\ (?:\w+\ )?(?:hold|contain|give|provide)\ the\ answer\b
    | \b(?:no|nothing|none)\b[^.;,]{{0,40}}\b(?:answers?|relevan\w+)\b[^.;,]{{0,20}}{_QUESTION}
    """,
    re.IGNORECASE | re.VERBOSE,
)
_AFFIRMS = re.compile(
    rf"""
    \b(?:directly\ |fully\ |clearly\ |exactly\ )?(?:answers|addresses|resolves)\ {_QUESTION}
    | \b(?:is|are)\ (?:directly\ |highly\ |clearly\ |very\ |most\ )*relevant\ (?:to|for|because|as|since)\b
    | \b(?:contains?|holds?|gives?|provides?|has|states?)\ (?:exactly\ |directly\ )?the\ (?:full\ |exact\ |required\ )?answer\b
    """,
    re.IGNORECASE | re.VERBOSE,
)


def problem_with(note: str, relevant: bool, question: str = "") -> str | None:
    """What keeps a note from being used, or None.

    Args:
        note: one sentence on a page.
        relevant: the label of the page.
        question: a phrase about labels that the question itself uses is no fault.

    Returns:
        Words that complete "That sentence cannot be used: ...".
    """
    words = note.split()
    if not words:
        return "it is empty"
    if len(words) > MAX_WORDS:
        return f"it has {len(words)} words, where one short sentence was asked for"
    if _TAG.search(note):
        return "it holds a tag"
    told = _TOLD.search(note)
    if told is not None and told[0].lower() not in question.lower():
        return f"it speaks of what you were told ({told[0]!r})"
    if relevant and (denial := _DENIES.search(note)) is not None:
        return f"the page answers the question, and the sentence says otherwise ({denial[0]!r})"
    if not relevant and (claim := _claim(note)) is not None:
        return f"the page does not answer the question, and the sentence says otherwise ({claim!r})"
    return None


def _claim(note: str) -> str | None:
    """A claim that the page answers, unless the clause before it negates it."""
    for match in _AFFIRMS.finditer(note):
        clause = re.split(r"[.;:,]|\bbut\b|\bhowever\b", note[: match.start()])[-1]
        if _NEGATION.search(clause) is None:
            return match[0].strip()
    return None
