"""Documents and pages ⇄ rows of the table: a row a page, and a row of page 0 for what is known of the document itself."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmr5.errors import MMR5Error, PageError
from mmr5.languages import terms
from mmr5.pages import read_pages
from mmr5.pages.files import StoredFile
from mmr5.pages.images import ImageFile
from mmr5.pages.pdf import PdfBoxes, PdfPageImage
from mmr5.pages.word_boxes import WordBoxes, words_of
from mmr5.retrieval.bm25 import page_languages
from mmr5.retrieval.hybrid import main_languages, main_script
from mmr5.retrieval.index.frequencies import counted
from mmr5.retrieval.index.where import Value
from mmr5.retrieval.vectors import UNKNOWN, Unknown
from mmr5.types import BoxSource, ImageSource, Page, Problem

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from PIL.Image import Image

    Vectors = np.ndarray[Any, Any]

_WORD = "<u4,<u4,<f4,<f4,<f4,<f4"
_KEY_CHARS = 16


@dataclass(frozen=True, slots=True)
class Document:
    """A document of a collection.

    Attributes:
        key: 16 hex digits, of where it lies.
        source: what it is called.
        path: the file; None for pages that were handed over.
        digest: of its content.
        size: bytes of the file.
        mtime_ns: its last change, in nanoseconds since the epoch.
        kind: the file's suffix without the dot, or ``"pages"``.
        pages: how many it has.
        added: when it was read, ISO 8601 in UTC.
        reading: how it was read (``ocr``, ``picture_pages``).
        metadata: the caller's own fields.
        problems: what was passed over while it was read.
        languages: pages by the language of their words.
        terms: terms on all its pages.
        holders: pages that have any.
    """

    key: str
    source: str
    path: str | None
    digest: str
    size: int
    mtime_ns: int
    kind: str
    pages: int
    added: str
    reading: str
    metadata: Mapping[str, Value] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()
    languages: Mapping[str, int] = field(default_factory=dict)
    terms: int = 0
    holders: int = 0

    def fields(self) -> dict[str, Value]:
        """What a filter can name: its own facts, and over them the caller's metadata."""
        own: dict[str, Value] = {"source": self.source, "kind": self.kind, "pages": float(self.pages), "added": self.added}
        return {**own, **({} if self.path is None else {"path": self.path}), **self.metadata}

    @property
    def file(self) -> StoredFile | None:
        """The file with the content that it had."""
        return None if self.path is None else StoredFile(Path(self.path), self.digest, self.size, self.mtime_ns)

    def about(self) -> str:
        """As :meth:`read` takes it."""
        return json.dumps({**asdict(self), "metadata": dict(self.metadata), "languages": dict(self.languages)})

    @classmethod
    def read(cls, about: str) -> Document:
        """What :meth:`about` gave."""
        own = json.loads(about)
        return cls(**{**own, "problems": tuple(Problem(**one) for one in own["problems"])})


def key_of(place: str) -> str:
    """The key of a document by where it lies: an absolute path, or the name under which pages were handed over."""
    return sha256(place.encode("utf-8", "surrogatepass")).hexdigest()[:_KEY_CHARS]


@dataclass(frozen=True, slots=True)
class StoredPage:
    """A page and what is stored beside its text.

    Attributes:
        page: the page.
        terms: its terms.
        spoken: the language by which they were made.
        main: the language of the page among its document's (:func:`mmr5.retrieval.hybrid.main_languages`).
        script: its main script.
        picture: how its picture is found: in the ``pdf`` or ``image`` itself, by reading the document ``again``, or not at all.
        words: its words' places where they are not looked up in the PDF itself.
    """

    page: Page
    terms: Sequence[str]
    spoken: str
    main: str
    script: str
    picture: str | None
    words: bytes | None


@dataclass(frozen=True, slots=True)
class ReadDocument:
    """A document with its pages, ready to be stored.

    Attributes:
        document: what is known of it.
        pages: its pages.
        frequencies: how many of them hold each term.
    """

    document: Document
    pages: Sequence[StoredPage]
    frequencies: bytes


def prepared(pages: Sequence[Page], about: Mapping[str, Any]) -> ReadDocument:
    """A document of pages, all of one source.

    Args:
        pages: its pages.
        about: the fields of :class:`Document` that the pages do not tell.
    """
    spoken, mains = page_languages(pages), main_languages(pages)
    bags = [terms(page.text or "", one) for page, one in zip(pages, spoken, strict=True)]
    path = None if about["path"] is None else Path(about["path"])
    stored = [
        StoredPage(page, bag, one, main, main_script(page.text or ""), _picture(page, path), _words(page, path))
        for page, bag, one, main in zip(pages, bags, spoken, mains, strict=True)
    ]
    document = Document(
        **about,
        pages=len(pages),
        languages=dict(Counter(spoken)),
        terms=sum(map(len, bags)),
        holders=sum(map(bool, bags)),
    )
    return ReadDocument(document, stored, counted(bags))


def _picture(page: Page, path: Path | None) -> str | None:
    """How a page's picture is found again."""
    image = page.image
    if image is None or path is None:
        return None
    if isinstance(image, PdfPageImage) and image.file.path == path and image.index == page.number - 1:
        return "pdf"
    if isinstance(image, ImageFile) and image.file.path == path and image.frame == page.number - 1:
        return "image"
    return f"again {image.key}"


def _words(page: Page, path: Path | None) -> bytes | None:
    """The places of a page's words, unless the PDF tells them at once."""
    import numpy as np

    if page.boxes is None or (isinstance(page.boxes, PdfBoxes) and page.boxes.file.path == path):
        return None
    try:
        return np.array([(a, b, *box) for a, b, box in words_of(page)], dtype=_WORD).tobytes()
    except PageError:  # the text stands without its places
        return None


def schema(columns: Mapping[str, int], settings: str) -> pa.Schema:
    """The table.

    Args:
        columns: name → dimension of each column of vectors.
        settings: of the collection, kept with it.
    """
    import pyarrow as pa

    return pa.schema(
        [
            ("id", pa.string()),
            ("document", pa.string()),
            ("source", pa.string()),
            ("page", pa.int32()),
            ("label", pa.string()),
            ("text", pa.string()),
            ("text_kind", pa.string()),
            ("language", pa.string()),
            ("main", pa.string()),
            ("script", pa.string()),
            ("size", pa.list_(pa.float32(), 2)),
            ("ocr_spans", pa.list_(pa.list_(pa.int32(), 2))),
            ("picture", pa.string()),
            ("words", pa.binary()),
            ("terms", pa.string()),
            ("read", pa.bool_()),
            ("embedded", pa.bool_()),
            ("about", pa.string()),
            ("frequencies", pa.binary()),
            *((name, pa.list_(pa.list_(pa.float16(), dimension))) for name, dimension in columns.items()),
        ],
        metadata={"mmr5": settings},
    )


def to_table(
    documents: Sequence[ReadDocument], vectors: Mapping[str, Sequence[Vectors | Unknown | None]], shape: pa.Schema
) -> pa.Table:
    """The rows of documents.

    Args:
        documents: at least one.
        vectors: name of each column → the vectors of each page of all documents in order; None where a page has none, and
            unknown where they have still to be made.
        shape: of :func:`schema`.
    """
    import pyarrow as pa

    rows: list[dict[str, Any]] = []
    own: list[bool] = []
    settled = iter([all(own is not UNKNOWN for own in held) for held in zip(*vectors.values(), strict=True)] or repeat(True))
    for document in documents:
        key, source = document.document.key, document.document.source
        rows.append(
            {
                "id": f"{key}/0",
                "document": key,
                "source": source,
                "page": 0,
                "about": document.document.about(),
                "frequencies": document.frequencies,
            }
        )
        own.append(False)
        for stored in document.pages:
            rows.append({**_row(key, source, stored), "embedded": next(settled)})
            own.append(True)
    plain = pa.Table.from_pylist(rows, schema=pa.schema([one for one in shape if one.name not in vectors]))
    for name in vectors:
        found = iter(vectors[name])
        made = [next(found) if is_page else None for is_page in own]
        plain = plain.append_column(shape.field(name), vector_column(made, shape.field(name).type))
    return plain.select(shape.names).replace_schema_metadata(shape.metadata)


def _row(key: str, source: str, stored: StoredPage) -> dict[str, Any]:
    page = stored.page
    return {
        "id": f"{key}/{page.number}", "document": key, "source": source, "page": page.number, "label": page.label,
        "text": page.text, "text_kind": page.text_kind, "language": page.language, "main": stored.main, "script": stored.script,
        "size": None if page.size is None else list(page.size), "ocr_spans": [list(span) for span in page.ocr_spans] or None,
        "picture": stored.picture, "words": stored.words, "terms": " ".join(stored.terms) or None, "read": page.text is not None,
    }  # fmt: skip


def vector_column(vectors: Sequence[Vectors | Unknown | None], kind: pa.DataType) -> pa.Array:
    """Lists of vectors; null where there are none, or none yet."""
    import numpy as np
    import pyarrow as pa

    dimension = kind.value_type.list_size
    held = [None if own is UNKNOWN else own for own in vectors]
    found = [own for own in held if own is not None]
    flat = np.concatenate(found).astype(np.float16) if found else np.zeros((0, dimension), np.float16)
    ends = np.cumsum([0, *(0 if own is None else len(own) for own in held)], dtype=np.int32)
    missing = pa.array([own is None for own in held] + [False])
    offsets = pa.array(ends, mask=missing.to_numpy(zero_copy_only=False))
    inner = pa.FixedSizeListArray.from_arrays(pa.array(flat.reshape(-1)), dimension)
    return pa.ListArray.from_arrays(offsets, inner).cast(kind)


def to_page(row: Mapping[str, Any], document: Document) -> Page:
    """The page of a row; its picture and places are looked up when asked for."""
    spans = tuple((int(a), int(b)) for a, b in row["ocr_spans"] or ())
    size = None if row["size"] is None else (float(row["size"][0]), float(row["size"][1]))
    number = int(row["page"])
    return Page(
        document.source, number, row["text"], _image(row["picture"], document, number), row["text_kind"], row["label"],
        row["language"], size, _boxes(row, document, number), spans,
    )  # fmt: skip


def _image(picture: str | None, document: Document, number: int) -> ImageSource | None:
    file = document.file
    if picture is None or file is None:
        return None
    if picture == "pdf":
        return PdfPageImage(file, number - 1)
    if picture == "image":
        return ImageFile(file, number - 1)
    return ReadAgain(file, number, picture.partition(" ")[2])


def _boxes(row: Mapping[str, Any], document: Document, number: int) -> BoxSource | None:
    import numpy as np

    if row["words"] is not None:
        found = np.frombuffer(row["words"], dtype=_WORD).tolist()
        return WordBoxes(tuple((a, b, (x0, y0, x1, y1)) for a, b, x0, y0, x1, y1 in found))
    file = document.file
    return PdfBoxes(file, number - 1) if row["picture"] == "pdf" and row["text"] and file is not None else None


@dataclass(frozen=True, slots=True)
class ReadAgain:
    """The picture of a page whose document is read again for it, such as an office document.

    Attributes:
        file: the document and the content that it had.
        number: one-based page.
        key: as of the picture that it had.
    """

    file: StoredFile
    number: int
    key: str

    def load(self, max_pixels: int | None = None) -> Image:
        """Decode to RGB of at most ``max_pixels`` pixels.

        Raises:
            PageError: the file is gone or was changed, or cannot be shown here.
        """
        self.file.check()
        try:
            pages = read_pages(self.file.path, ocr="never", on_problem=lambda problem: None)
        except MMR5Error as error:
            raise PageError(f"{self.file.path.name}, page {self.number}: {error}") from error
        image = next((page.image for page in pages if page.number == self.number), None)
        if image is None:
            raise PageError(f"{self.file.path.name}, page {self.number}: it has no picture on this machine")
        return image.load(max_pixels)
