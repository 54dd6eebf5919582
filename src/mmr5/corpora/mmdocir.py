"""MMDocIR's evaluation set (arXiv 2501.08828), from its three published files into corpus records.

``MMDocIR_annotations.jsonl`` has one line a document; ``page_indices`` and ``layout_indices`` are inclusive ranges of ROWS in
``MMDocIR_pages.parquet`` and ``MMDocIR_layouts.parquet``, whose row order is the key. The parquet files name documents without
``.pdf``. A question may be asked twice of one document, so questions are known by document and place in it.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from mmr5.corpora.parquet import ParquetImage, check_columns, has_large_groups, open_parquet, read_columns, read_range, repack
from mmr5.corpora.records import Corpus, Document, Layout, Question, qids
from mmr5.errors import CorpusError, EngineError, missing_extra
from mmr5.storage.atomic import writing
from mmr5.storage.jsonl import Record, read_jsonl, text_field
from mmr5.types import Page, Progress

ANNOTATIONS = "MMDocIR_annotations.jsonl"
PAGES = "MMDocIR_pages.parquet"
LAYOUTS = "MMDocIR_layouts.parquet"
HUB_NAME = "MMDocIR/MMDocIR_Evaluation_Dataset"

DOMAINS = (
    "Research report / Introduction",
    "Administration/Industry file",
    "Tutorial/Workshop",
    "Academic paper",
    "Brochure",
    "Financial report",
    "Guidebook",
    "Government",
    "Laws",
    "News",
)
"""The ten domains of the macro average, in the benchmark's order; one without questions counts as 0 there."""

TextSource = Literal["ocr", "vlm"]
"""Which text of a page picture is taken: recognised characters, or a model's description."""


@dataclass(frozen=True, slots=True)
class EvaluationStore:
    """Pages and layouts of the evaluation set, read from the parquet files when asked for.

    Attributes:
        folder: where the files are.
        page_rows: doc_name → first and last row (inclusive) in the page file.
        layout_rows: the same for the layout file.
        text: which text is taken.
    """

    folder: Path
    page_rows: dict[str, tuple[int, int]]
    layout_rows: dict[str, tuple[int, int]]
    text: TextSource = "ocr"

    def pages(self, document: Document) -> list[Page]:
        """The pages of a document: text at once, pictures when they are loaded.

        Raises:
            CorpusError: the rows belong to another document, or are out of order.
        """
        first, last = self.page_rows[document.doc_name]
        path = self.folder / PAGES
        columns = ["doc_name", "passage_id", f"{self.text}_text"]
        pages = []
        for offset, row in enumerate(read_range(path, first, last + 1, columns)):
            where = f"{path}, row {first + offset}"
            _expect_document(row["doc_name"], document, where)
            if whole_number(row["passage_id"], "passage_id", where) != offset:
                raise CorpusError(f"{where}: passage_id is {row['passage_id']!r} at page {offset}: {_MISMATCH}")
            text = row[f"{self.text}_text"]
            picture = ParquetImage(path, "image_binary", first + offset)
            pages.append(Page(document.doc_name, offset + 1, text or "", picture, "ocr" if self.text == "ocr" else "given"))
        return pages

    def layouts(self, document: Document) -> list[Layout]:
        """The layouts of a document, in file order; tables and figures carry the text chosen by ``text``.

        Raises:
            CorpusError: the layout file is missing, or the rows belong to another document.
        """
        first, last = self.layout_rows[document.doc_name]
        path = self.folder / LAYOUTS
        columns = ["doc_name", "type", "layout_id", "page_id", "text", f"{self.text}_text", "bbox", "page_size"]
        found = []
        for offset, row in enumerate(read_range(path, first, last + 1, columns)):
            where = f"{path}, row {first + offset}"
            _expect_document(row["doc_name"], document, where)
            page_id = whole_number(row["page_id"], "page_id", where)
            text = row["text"] or row[f"{self.text}_text"] or None
            name = None if row["layout_id"] is None else str(row["layout_id"])
            found.append(
                Layout(document.doc_name, page_id, _box(row["bbox"], where), _size(row["page_size"]), row["type"], text, name)
            )
        return found

    def layout_image(self, document: Document, place: int) -> ParquetImage:
        """The picture of the layout at a place of :meth:`layouts`."""
        return ParquetImage(self.folder / LAYOUTS, "image_binary", self.layout_rows[document.doc_name][0] + place)


def load_evaluation(folder: Path, *, text: TextSource = "ocr") -> Corpus:
    """Read the evaluation set.

    Args:
        folder: holds the annotations and the page file; the layout file is needed for layouts only.
        text: which text pages get.

    Returns:
        A corpus with split ``test`` throughout. ``page_ids`` are as published, in their order; a repeated label stays, since the
        benchmark divides by the number of labels.

    Raises:
        CorpusError: a file is missing, breaks its format, or the files do not belong together.
    """
    if not folder.is_dir():
        raise CorpusError(f"there is no folder {folder}: run 'mmr5 data fetch mmdocir', or give the folder that holds {PAGES}")
    check_columns(folder / PAGES, ["doc_name", "passage_id", "image_binary", f"{text}_text"])
    n_rows = open_parquet(folder / PAGES).metadata.num_rows
    documents: list[Document] = []
    questions: list[Question] = []
    page_rows: dict[str, tuple[int, int]] = {}
    layout_rows: dict[str, tuple[int, int]] = {}
    for number, record in read_jsonl(folder / ANNOTATIONS):
        where = f"{folder / ANNOTATIONS}, line {number}"
        doc_name = plain_name(text_field(record, "doc_name", where))
        if doc_name in page_rows:
            raise CorpusError(f"{where}: doc_name {doc_name!r} is used twice")
        first, last = page_rows[doc_name] = _row_range(record, ("page_indices",), where)
        layout_rows[doc_name] = _row_range(record, ("layout_indices", "layout_indinces"), where)
        if last >= n_rows:
            raise CorpusError(f"{where}: page_indices is {[first, last]}, and {PAGES} has {n_rows} rows: {_MISMATCH}")
        document = Document(doc_name, text_field(record, "domain", where), last - first + 1, "test")
        documents.append(document)
        questions += [
            _question(q, document, f"{where}, question {k}") for k, q in enumerate(record.get("questions") or [], start=1)
        ]
    _check_disjoint(page_rows, folder / ANNOTATIONS)
    _check_row_names(folder / PAGES, page_rows)
    ids = qids(q.doc_name for q in questions)
    named = tuple(replace(q, qid=qid) for q, qid in zip(questions, ids, strict=True))
    return Corpus("mmdocir", tuple(documents), named, EvaluationStore(folder, page_rows, layout_rows, text), domains=DOMAINS)


def fetch_evaluation(folder: Path, *, source: Path | None = None, progress: Progress | None = None) -> Corpus:
    """Put the evaluation set into a folder, its parquet files in small row groups, and read it once to check it.

    Args:
        folder: where it goes.
        source: a folder that holds the published files; None takes them from the hub.
        progress: told of the copying.

    Raises:
        CorpusError: files are missing or broken, or the hub cannot be reached.
        MissingExtraError: ``huggingface_hub`` or ``pyarrow`` is not installed.
        OutputError: the folder cannot be written.
    """
    for name in (ANNOTATIONS, PAGES, LAYOUTS):
        target = folder / name
        if target.is_file() and not (name.endswith(".parquet") and has_large_groups(target)):
            continue
        origin = source / name if source is not None else _from_hub(name)
        if not origin.is_file():
            if name == LAYOUTS:
                continue
            raise CorpusError(f"there is no file {origin}: {HUB_NAME} holds {ANNOTATIONS}, {PAGES} and {LAYOUTS}")
        if name.endswith(".parquet") and has_large_groups(origin):
            repack(origin, target, progress)
        else:
            _copy(origin, target)
    return load_evaluation(folder)


def plain_name(doc_name: str) -> str:
    """A document's name without the ending ``.pdf``, which some of the files drop."""
    return doc_name[:-4] if doc_name.lower().endswith(".pdf") else doc_name


_MISMATCH = "annotations and parquet files do not belong together; fetch all of them again"


def _question(record: Any, document: Document, where: str) -> Question:
    if not isinstance(record, dict):
        raise CorpusError(f"{where}: expected one JSON object, found {type(record).__name__}")
    page_ids = record.get("page_id")
    if not isinstance(page_ids, list) or not page_ids:
        raise CorpusError(f"{where}: page_id is {page_ids!r}: expected a list of at least one zero-based page")
    relevant = tuple(whole_number(value, "page_id", where) for value in page_ids)
    if outside := [p for p in relevant if not 0 <= p < document.pages]:
        raise CorpusError(f"{where}: page_id holds {outside[0]}, and {document.doc_name} has {document.pages} pages")
    layouts = tuple(_layout(mapping, document, where) for mapping in record.get("layout_mapping") or [])
    kind, answer = record.get("type"), record.get("A")
    return Question(
        doc_name=document.doc_name,
        question=text_field(record, "Q", where),
        page_ids=relevant,
        qid="",
        type=None if kind is None else str(kind),
        answer=None if answer is None else str(answer),
        split="test",
        layouts=layouts,
    )


def _layout(mapping: Any, document: Document, where: str) -> Layout:
    if not isinstance(mapping, dict):
        raise CorpusError(f"{where}: layout_mapping holds {mapping!r}: expected objects with page and bbox")
    page_id = whole_number(mapping.get("page"), "page", where)
    return Layout(document.doc_name, page_id, _box(mapping.get("bbox"), where), _size(mapping.get("page_size")))


def _row_range(record: Record, names: Sequence[str], where: str) -> tuple[int, int]:
    """An inclusive range of rows; the data set's own description misspells one of the names."""
    value = next((record[name] for name in names if name in record), None)
    if not isinstance(value, list) or len(value) != 2 or not all(type(v) is int for v in value) or not 0 <= value[0] <= value[1]:
        raise CorpusError(f"{where}: {names[0]} is {value!r}: expected [first row, last row], inclusive")
    return value[0], value[1]


def _check_disjoint(rows: dict[str, tuple[int, int]], path: Path) -> None:
    ordered = sorted((span, name) for name, span in rows.items())
    for ((_, last), before), ((first, _), name) in pairwise(ordered):
        if first <= last:
            raise CorpusError(f"{path}: page_indices of {before} and {name} overlap at row {first}: {_MISMATCH}")


def _check_row_names(path: Path, rows: dict[str, tuple[int, int]]) -> None:
    """Every row of a document's range bears its name: an off-by-one range or a re-sorted file shows here."""
    owners = {row: name for name, (first, last) in rows.items() for row in range(first, last + 1)}
    for number, row in enumerate(read_columns(path, ["doc_name"])):
        owner = owners.get(number)
        if owner is not None and plain_name(str(row["doc_name"])) != owner:
            raise CorpusError(f"{path}, row {number}: belongs to {row['doc_name']!r}, expected {owner!r}: {_MISMATCH}")


def _expect_document(value: Any, document: Document, where: str) -> None:
    if plain_name(str(value)) != document.doc_name:
        raise CorpusError(f"{where}: belongs to {value!r}, expected {document.doc_name!r}: {_MISMATCH}")


def _from_hub(name: str) -> Path:
    try:
        import huggingface_hub
    except ImportError as error:
        raise missing_extra("huggingface_hub", "eval", "fetch MMDocIR from the hub") from error
    try:
        return Path(huggingface_hub.hf_hub_download(HUB_NAME, name, repo_type="dataset"))
    except Exception as error:
        way_out = f"get {name} of the data set {HUB_NAME} on a machine with access, and use --from FOLDER"
        raise EngineError(f"the hub cannot be used ({type(error).__name__}): {way_out}", retryable=True) from error


def _copy(origin: Path, target: Path) -> None:
    try:
        source = origin.open("rb")
    except OSError as error:
        raise CorpusError(f"{origin} cannot be read: {error.strerror or error}") from error
    with source, writing(target) as file:
        shutil.copyfileobj(source, file, 1 << 20)


def whole_number(value: Any, name: str, where: str) -> int:
    """A whole number, also when it is written as a string.

    Raises:
        CorpusError: it is none.
    """
    try:
        return int(value)
    except (TypeError, ValueError):
        raise CorpusError(f"{where}: {name} is {value!r}: expected a whole number") from None


def _box(value: Any, where: str) -> tuple[float, float, float, float]:
    if not isinstance(value, list) or len(value) != 4:
        raise CorpusError(f"{where}: bbox is {value!r}: expected x1, y1, x2, y2")
    x1, y1, x2, y2 = (float(v) for v in value)
    return x1, y1, x2, y2


def _size(value: Any) -> tuple[float, float] | None:
    return (float(value[0]), float(value[1])) if isinstance(value, list) and len(value) == 2 else None
