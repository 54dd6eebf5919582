"""The text of each page: its layer, what is recognised in its picture, or both.

A page is recognised when its layer is empty or garbled, when some of its lines form no words (a font whose Unicode map
is permuted), and when pictures cover it and there is little text beside them (a scan with a stamp). Of other pages the
pictures that lie on them are read, and their words put where the pictures stand.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Literal

from mmr5.errors import DocumentError, EngineError, MissingExtraError, PageError
from mmr5.pages import ocr as recognition
from mmr5.pages import picture_words
from mmr5.pages.drafts import Draft, Problems
from mmr5.pages.pdf import PdfBoxes, PdfPage, PdfPageImage, PdfRegionImage
from mmr5.pages.plausible import looks_misread
from mmr5.pages.recognised import Pieces, is_false_alarm, with_lines_recognised, with_notes, with_pictures, with_stamps
from mmr5.pages.regions import Region
from mmr5.pages.text import count_visible
from mmr5.settings import ReadingSettings
from mmr5.storage.cache import Cache
from mmr5.types import BoxSource, Progress, TextKind

OcrMode = Literal["auto", "never", "always"]

CHECK_PIXELS = 4096
"""A picture is decoded to this size to see whether it can be: a JPEG is then decoded reduced, and fast."""
COVERED = 0.5
"""Share of a page from which its pictures count as a scan of it."""
MAX_STAMP = 300
"""Most visible characters of a stamp or a Bates number on a scan; a page with more text is not recognised whole."""
PICTURE_PAGES = ReadingSettings.picture_pages
"""Most pages with a text of their own whose pictures are read for words, in one call."""
_MAX_UNSEEN = 0.05
_MIN_HIDDEN = 3
_MIN_WORDS_SHARE = 0.5


def settle_texts(
    drafts: Sequence[Draft],
    ocr: OcrMode,
    cache: Cache,
    problems: Problems,
    progress: Progress | None,
    picture_pages: int | None = PICTURE_PAGES,
) -> None:
    """Give every draft its text.

    Args:
        drafts: the pages.
        ocr: as in :func:`mmr5.read_pages`.
        cache: where results are kept.
        problems: told what is left out.
        progress: told ``"ocr"`` of pages that are recognised whole, and then of those whose pictures are read.
        picture_pages: most pages whose pictures are read; None for all.
    """
    seen = [draft for draft in drafts if draft.image is not None]
    for draft in seen:
        draft.text, draft.text_kind, draft.boxes = _layer_text(draft)
    _recognise_pages(seen, ocr, cache, problems, progress)
    if ocr == "auto":
        _read_pictures([draft for draft in seen if _has_pictures(draft)], cache, problems, progress, picture_pages)
    if ocr == "never":
        _drop_undecodable([draft for draft in seen if draft.content is None], problems)
    for draft in seen:
        if draft.notes:
            whole = with_notes(Pieces(draft.text or "", draft.boxes), draft.notes)
            draft.text, draft.boxes = whole.text, whole.boxes


def _recognise_pages(drafts: Sequence[Draft], ocr: OcrMode, cache: Cache, problems: Problems, progress: Progress | None) -> None:
    """Recognise the pages that need it whole."""
    waiting = [draft for draft in drafts if _needs_ocr(draft, ocr)]
    for done, draft in enumerate(waiting):
        if progress is not None:
            progress("ocr", done, len(waiting))
        try:
            assert draft.image is not None
            recognised = recognition.recognise_picture(draft.image, cache)
        except MissingExtraError as error:
            if ocr == "always":
                raise
            _go_without_ocr(waiting[done:], error, problems)
            break
        except EngineError as error:
            problems.add(error, draft.name, draft.number)
            draft.text = draft.text or ""
        except (DocumentError, PageError) as error:
            problems.add(error, draft.name, draft.number)
            draft.dropped = True
        else:
            _take_recognised(draft, recognised, ocr)
            if recognised.doubt and draft.text_kind != "layer":
                problems.note(draft.name, draft.number, recognised.doubt)
    if progress is not None and waiting:
        progress("ocr", len(waiting), len(waiting))


def _has_pictures(draft: Draft) -> bool:
    """Whether pictures that may hold words lie on a page whose own text is taken."""
    content = draft.content
    return (
        content is not None
        and bool(content.regions)
        and draft.text_kind == "layer"
        and not draft.dropped
        and content.problem is None
        and content.unseen <= _MAX_UNSEEN
    )


def _read_pictures(
    drafts: Sequence[Draft], cache: Cache, problems: Problems, progress: Progress | None, most: int | None
) -> None:
    """Put the words of the pictures that lie on pages into their texts."""
    chosen = drafts if most is None else drafts[:most]
    for name, count in Counter(draft.name for draft in drafts[len(chosen) :] if most).items():
        problems.note(
            name,
            None,
            f"the words in the pictures of {count} pages were not read, since at most {most} pages of one call are: "
            "raise --picture-pages (picture_pages)",
        )
    found = picture_words.read_regions([_images(draft) for draft in chosen], cache)
    try:
        for done, draft in enumerate(chosen):
            if progress is not None:
                progress("ocr", done, len(chosen))
            try:
                words = [(region.line, one) for region, one in zip(_regions(draft), next(found), strict=True) if one.text]
                if words:
                    _add_words(draft, words)
            except MissingExtraError as error:
                _report_unread_pictures(chosen[done:], error, problems)
                break
            except (DocumentError, EngineError, PageError) as error:
                problems.note(draft.name, draft.number, f"the words in its pictures were not read: {error}")
    finally:
        found.close()
    if progress is not None and chosen:
        progress("ocr", len(chosen), len(chosen))


def _regions(draft: Draft) -> Sequence[Region]:
    return () if draft.content is None else draft.content.regions


def _images(draft: Draft) -> list[PdfRegionImage]:
    assert isinstance(draft.image, PdfPageImage)
    return [PdfRegionImage(draft.image.file, draft.image.index, one.box, one.density) for one in _regions(draft)]


def _add_words(draft: Draft, words: Sequence[tuple[int, recognition.Recognition]]) -> None:
    marked = with_pictures(Pieces(draft.text or "", draft.boxes), words)
    draft.text, draft.boxes, draft.ocr_spans = marked.pieces.text, marked.pieces.boxes, marked.spans


def _report_unread_pictures(drafts: Sequence[Draft], error: MissingExtraError, problems: Problems) -> None:
    """Say once a document that its pictures were not read."""
    for name, count in Counter(draft.name for draft in drafts).items():
        what = "1 page" if count == 1 else f"{count} pages"
        problems.note(name, None, f"the words in the pictures of {what} were not read: {error}")


def _drop_undecodable(drafts: Sequence[Draft], problems: Problems) -> None:
    """Decode the images that nothing has looked at yet, so that a damaged one is found now and not by a model."""
    for draft in drafts:
        try:
            if draft.image is not None:
                draft.image.load(CHECK_PIXELS)
        except (DocumentError, PageError) as error:
            problems.add(error, draft.name, draft.number)
            draft.dropped = True


def _needs_ocr(draft: Draft, ocr: OcrMode) -> bool:
    if ocr != "auto":
        return ocr == "always"
    content = draft.content
    if content is not None and draft.printed:
        return content.coverage >= COVERED and not content.text.strip()
    return content is None or content.problem is not None or bool(content.unlikely) or _is_stamped_scan(content)


def _is_stamped_scan(content: PdfPage) -> bool:
    """Whether pictures cover the page, with little text on them or signs that are no words."""
    if content.coverage < COVERED:
        return False
    visible = count_visible(content.text)
    if content.unseen > COVERED:
        return sum(map(str.isalnum, content.text)) < _MIN_WORDS_SHARE * visible
    return visible < MAX_STAMP


def _layer_text(draft: Draft) -> tuple[str | None, TextKind | None, BoxSource | None]:
    """What is known without OCR: a garbled layer is worth nothing, a short one is taken as it is."""
    if draft.content is None or not isinstance(draft.image, PdfPageImage):
        return None, None, None
    if draft.content.problem == "garbled" and not draft.printed:
        return "", "layer", None
    return draft.content.text, "layer", PdfBoxes(draft.image.file, draft.image.index)


def _take_recognised(draft: Draft, recognised: recognition.Recognition, ocr: OcrMode) -> None:
    """Prefer the recognised text, but keep what the layer says better."""
    content, layer = draft.content, draft.text or ""
    found = Pieces(recognised.text, recognised)
    if content is not None and layer and ocr == "auto":
        own = Pieces(layer, draft.boxes)
        if content.unlikely:
            found = with_lines_recognised(own, content.unlikely, recognised)
            keep = is_false_alarm(own, content.unlikely, recognised.text)
        elif content.unseen > COVERED:
            keep = False
        else:
            found = with_stamps(own, found) if content.coverage >= COVERED else found
            keep = count_visible(layer) >= count_visible(found.text)
        if keep:
            return
    if layer and not recognised.text:
        return
    draft.text, draft.text_kind, draft.boxes = found.text, "ocr", found.boxes


def _go_without_ocr(drafts: Sequence[Draft], error: MissingExtraError, problems: Problems) -> None:
    """Keep the pages without text, and say so once a document."""
    for draft in drafts:
        draft.text = draft.text or ""
    _drop_undecodable([draft for draft in drafts if draft.content is None], problems)
    for name, count in Counter(draft.name for draft in drafts).items():
        what = "1 page stays" if count == 1 else f"{count} pages stay"
        problems.add(MissingExtraError(f"{what} without recognised text: {error}"), name)


def report_pages(drafts: Sequence[Draft], ocr: OcrMode, problems: Problems) -> None:
    """Say what was left out of the layers that are used, and which of them look poor: once a document."""
    hidden: dict[str, list[int]] = {}
    poor: dict[str, list[int]] = {}
    for draft in drafts:
        content = draft.content
        if content is None or draft.text_kind != "layer":
            continue
        if content.hidden >= _MIN_HIDDEN:
            hidden.setdefault(draft.name, []).append(draft.number)
        if ocr == "auto" and content.unseen > COVERED and content.coverage >= COVERED and looks_misread(content.text):
            poor.setdefault(draft.name, []).append(draft.number)
    for name, numbers in hidden.items():
        message = "text that no reader sees (in the colour of its ground, of no size, outside the page) was left out"
        problems.note(name, *_on_pages(numbers, message))
    for name, numbers in poor.items():
        message = "the text under its picture looks poorly recognised: read it again with --ocr always (ocr='always')"
        problems.note(name, *_on_pages(numbers, message))


def _on_pages(numbers: Sequence[int], message: str) -> tuple[int | None, str]:
    """A problem's page and message for one page or several."""
    if len(numbers) == 1:
        return numbers[0], message
    shown = ", ".join(map(str, numbers[:10])) + (", …" if len(numbers) > 10 else "")
    return None, f"{message}, on {len(numbers)} pages: {shown}"
