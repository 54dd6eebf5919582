"""Scenes whose relevance can only be seen: every kind has two attributes, and a question asks for both.

A hard negative differs from the page that answers in one attribute. Some combinations are held out: they are on no page that
training sees.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

COLORS = ("red", "green", "blue", "yellow")
SHAPES = ("circle", "square", "triangle", "cross")
TRENDS = ("rising", "falling", "peaked", "dipped")
RELATIONS = ("left of", "right of", "above", "inside")
LEVELS = ("20", "40", "60", "80")


@dataclass(frozen=True, slots=True)
class Kind:
    """A family of scenes.

    Attributes:
        name: of the family; also the questions' type.
        first: values of the first attribute.
        second: values of the second.
        question: asks for both, with ``{a}`` and ``{b}``.
        note: says what is on the page, with ``{a}`` and ``{b}``.
        judged: whether a threshold is set on it.
    """

    name: str
    first: tuple[str, ...]
    second: tuple[str, ...]
    question: str
    note: str
    judged: bool = True

    def combinations(self, *, held_out: bool) -> list[tuple[str, str]]:
        """The pairs of values that training sees, or those that it does not: one in four, a diagonal of the square."""
        return [
            (a, b)
            for i, a in enumerate(self.first)
            for j, b in enumerate(self.second)
            if ((i + j) % 4 == 0) is held_out and a != b
        ]


KINDS = (
    Kind("shape", COLORS, SHAPES, "Which page shows a {a} {b}?", "a {a} {b}"),
    Kind("bars", COLORS, COLORS, "Where is the {a} bar highest and the {b} bar lowest?", "{a} highest, {b} lowest"),
    Kind("line", COLORS, TRENDS, "Which chart has a {a} line that is {b}?", "a {a} line, {b}"),
    Kind("layout", RELATIONS, SHAPES, "Where is the dot {a} the {b}?", "the dot {a} the {b}"),
    Kind("axis", COLORS, LEVELS, "Where does the {a} bar reach {b}?", "a {a} bar up to {b}", judged=False),
)
BY_NAME = {kind.name: kind for kind in KINDS}


@dataclass(frozen=True, slots=True)
class Scene:
    """What one page shows.

    Attributes:
        kind: name of its family.
        a: its first attribute.
        b: its second.
        seed: of everything that does not matter: sizes, places, the values between.
    """

    kind: str
    a: str
    b: str
    seed: int

    @property
    def question(self) -> str:
        """The question that this scene answers."""
        return BY_NAME[self.kind].question.format(a=self.a, b=self.b)

    def note(self, asked: Scene) -> str:
        """The sentence on this page for the question that ``asked`` answers."""
        shown = BY_NAME[self.kind].note.format(a=self.a, b=self.b)
        if (self.a, self.b) == (asked.a, asked.b):
            return f"Shows {shown}, as asked."
        return f"Shows {shown} instead."


def document(kind: Kind, pages: int, rng: random.Random, *, held_out: bool) -> tuple[list[Scene], list[int]]:
    """Scenes of one document, each combination once, and the pages that are asked about.

    Negatives of the first page asked about differ from it in one attribute for as long as there are such; a document for
    testing asks about held-out combinations alone, one for training shows none.

    Returns:
        Scenes in page order, and the page ids of those that a question may ask for.
    """
    seen, hidden = kind.combinations(held_out=False), kind.combinations(held_out=True)
    pool = [*seen, *hidden] if held_out else seen
    target = rng.choice(hidden if held_out else seen)
    near = [c for c in pool if c != target and (c[0] == target[0]) != (c[1] == target[1])]
    far = [c for c in pool if c != target and c not in near]
    rng.shuffle(near)
    rng.shuffle(far)
    chosen = [target, *(near + far)[: pages - 1]]
    rng.shuffle(chosen)
    scenes = [Scene(kind.name, a, b, rng.randrange(2**31)) for a, b in chosen]
    asked = [i for i, c in enumerate(chosen) if (c == target if held_out else True)]
    return scenes, asked


def all_words(kinds: Sequence[Kind] = KINDS) -> list[str]:
    """Every question and both notes of every scene: what a tokenizer has to know."""
    found = []
    for kind in kinds:
        for a in kind.first:
            for b in kind.second:
                scene, other = Scene(kind.name, a, b, 0), Scene(kind.name, "", "", 0)
                found += [scene.question, scene.note(scene), scene.note(other)]
    return found
