"""Scenes whose relevance can only be seen: every kind has two attributes, and a question asks for both.

A hard negative differs from the page that answers in one attribute. Some combinations are held out: they are on no page that
training sees.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

COLORS = ("red", "green", "blue", "yellow", "purple", "cyan")
SHAPES = ("circle", "square", "triangle", "cross", "diamond", "star")
PLACES = ("first", "second", "third", "last")
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
        broad: questions that every page of the family answers, so that their words give nothing away, each with the note that
            answers it: on both attributes, on the first, on the second.
        judged: whether a threshold is set on it.
    """

    name: str
    first: tuple[str, ...]
    second: tuple[str, ...]
    question: str
    note: str
    broad: tuple[tuple[str, str], ...]
    judged: bool = True

    def combinations(self, *, held_out: bool) -> list[tuple[str, str]]:
        """The pairs of values that training sees, or those that it does not: each value with the other attribute's next one.

        So every value of the attribute that has fewer is held out with one partner, and seen with all others.
        """
        pairs = [(a, b) for a in self.first for b in self.second]
        few = min(len(self.first), len(self.second))
        hidden = [(self.first[i], self.second[(i + 1) % len(self.second)]) for i in range(few)]
        return hidden if held_out else [pair for pair in pairs if pair not in hidden]


KINDS = (
    Kind(
        "shape", COLORS, SHAPES, "Which page shows a {a} {b}?", "a {a} {b}",
        (("Which page shows a shape?", "a {a} {b}"), ("Which page has color?", "something {a}"), ("Which has a form?", "a {b}")),
    ),
    Kind(
        "bars", PLACES, COLORS, "Where is the {a} bar highest and {b}?", "the {a} bar highest and {b}",
        (
            ("Where are bars compared?", "the {a} bar highest and {b}"),
            ("Which colors do the bars have?", "bars in {bars}"),
            ("Which color is highest?", "the highest bar {b}"),
            ("Which place is highest?", "the {a} bar highest"),
        ),
    ),
    Kind(
        "line", COLORS, TRENDS, "Which chart has a {a} line that is {b}?", "a {a} line, {b}",
        (
            ("Which chart has a line?", "a {a} line, {b}"),
            ("Which chart has color?", "a {a} line"),
            ("Which chart has a trend?", "a line, {b}"),
        ),
    ),
    Kind(
        "layout", RELATIONS, SHAPES, "Where is the dot {a} the {b}?", "the dot {a} the {b}",
        (
            ("Where is a dot with a shape?", "the dot {a} the {b}"),
            ("Where is the dot?", "the dot {a} the shape"),
            ("Which shape has a dot?", "a dot with a {b}"),
        ),
    ),
    Kind(
        "axis", COLORS, LEVELS, "Where does the {a} bar reach {b}?", "a {a} bar up to {b}",
        (
            ("Where does a bar reach a value?", "a {a} bar up to {b}"),
            ("Where is a bar of color?", "a {a} bar"),
            ("Which value is reached?", "a bar up to {b}"),
        ),
        judged=False,
    ),
)  # fmt: skip
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
        """The sentence on this page for the question that ``asked`` answers.

        Each attribute is compared where it is named, and the verdict follows from the two: a small model does not learn to
        compare both in one step.
        """
        a, b = (f"{own} ({'as' if own == wanted else 'not'} asked)" for own, wanted in ((self.a, asked.a), (self.b, asked.b)))
        shown = BY_NAME[self.kind].note.format(a=a, b=b)
        return f"Shows {shown}, so {'yes' if (self.a, self.b) == (asked.a, asked.b) else 'no'}."

    def told(self, wording: str) -> str:
        """A wording with this scene's attributes in it."""
        return wording.format(a=self.a, b=self.b, bars=" ".join(self.bars) if "{bars}" in wording else "")

    @property
    def bars(self) -> list[str]:
        """Colors of the bars of a scene of that kind, from left to right: the highest one's, and three others."""
        colors = random.Random(self.seed).sample([c for c in COLORS if c != self.b], len(PLACES))  # noqa: S311
        colors[PLACES.index(self.a)] = self.b
        return colors


def document(kind: Kind, pages: int, rng: random.Random, *, held_out: bool) -> tuple[list[Scene], list[int]]:
    """Scenes of one document, each combination once, and the pages that are asked about.

    A document for testing asks about two held-out combinations; one for training shows none, and each of its pages is asked
    about. The other pages differ in one attribute from one that is asked about (in training: from the first) for as long as
    there are such.

    Returns:
        Scenes in page order, and the page ids of those that a question may ask for.
    """
    seen, hidden = kind.combinations(held_out=False), kind.combinations(held_out=True)
    pool = [*seen, *hidden] if held_out else seen
    targets = rng.sample(hidden, 2) if held_out else [rng.choice(seen)]
    chosen = list(targets)
    while len(chosen) < pages:
        needy = min(targets, key=lambda t: sum(near(c, t) for c in chosen))
        left = [c for c in pool if c not in chosen]
        rng.shuffle(left)
        chosen.append(max(left, key=lambda c: (near(c, needy), sum(near(c, t) for t in targets))))
    rng.shuffle(chosen)
    scenes = [Scene(kind.name, a, b, rng.randrange(2**31)) for a, b in chosen]
    return scenes, [i for i, c in enumerate(chosen) if c in targets or not held_out]


def near(one: tuple[str, str], other: tuple[str, str]) -> bool:
    """Whether two combinations differ in exactly one attribute."""
    return (one[0] == other[0]) != (one[1] == other[1])


def all_words(kinds: Sequence[Kind] = KINDS) -> list[str]:
    """Every question and both notes of every scene: what a tokenizer has to know."""
    found = []
    for kind in kinds:
        for a in kind.first:
            for b in kind.second:
                scene, other = Scene(kind.name, a, b, 0), Scene(kind.name, "", "", 0)
                found += [scene.question, scene.note(scene), scene.note(other)]
                found += [text for question, note in kind.broad for text in (question, f"Shows {scene.told(note)}, so yes.")]
    return found
