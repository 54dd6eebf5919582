"""Pages that are being read, and what is passed over on the way."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field

from mmr5.errors import MMR5Error, MMR5Warning
from mmr5.languages import language
from mmr5.pages.images import ImageFile
from mmr5.pages.pdf import PdfPage, PdfPageImage
from mmr5.types import BoxSource, Page, Problem, TextKind


@dataclass(slots=True)
class Draft:
    """A page whose text is not settled yet.

    ``content`` is what its PDF says, None for an image; a page of a text has no image, and its text is settled. ``printed``
    says that the PDF was made here of an office document, so that its layer holds all that was written, however little.
    ``notes`` is a text that belongs to the page and is not shown on it: what a speaker says.
    """

    name: str
    number: int
    image: ImageFile | PdfPageImage | None
    content: PdfPage | None
    text: str | None = None
    text_kind: TextKind | None = None
    boxes: BoxSource | None = None
    dropped: bool = False
    printed: bool = False
    notes: str = ""
    ocr_spans: tuple[tuple[int, int], ...] = ()

    def page(self) -> Page:
        """The page, once its text is settled."""
        content = self.content
        size = None if content is None else (content.size[0], content.size[1])
        label = None if content is None else content.label
        spoken = None if self.text is None else language(self.text)
        return Page(
            self.name, self.number, self.text, self.image, self.text_kind, label, spoken, size, self.boxes, self.ocr_spans
        )


@dataclass(slots=True)
class Problems:
    """What was passed over, kept until it is known whether anything could be read."""

    strict: bool
    found: list[tuple[Problem, type[MMR5Error]]] = field(default_factory=list)
    notes: list[Problem] = field(default_factory=list)

    def add(self, error: MMR5Error, name: str, page: int | None = None) -> None:
        """Note a problem, or raise it when strict."""
        problem = Problem(name, page, str(error))
        kind = type(error)
        if self.strict:
            raise kind(str(problem)) from error
        self.found.append((problem, kind))

    def note(self, name: str, page: int | None, message: str) -> None:
        """Report what a readable file or page leaves out; it is never raised."""
        self.notes.append(Problem(name, page, message))

    def report(self, on_problem: Callable[[Problem], None] | None, *, nothing_read: bool) -> None:
        """Hand the problems on; when nothing could be read, raise the first one instead."""
        if nothing_read and self.found:
            problem, kind = self.found[0]
            rest = len(self.found) - 1
            raise kind(f"{problem} (and {rest} more could not be read)" if rest else str(problem))
        for problem in (*(problem for problem, _ in self.found), *self.notes):
            if on_problem is not None:
                on_problem(problem)
            else:
                warnings.warn(str(problem), MMR5Warning, stacklevel=3)
