"""Where training data comes from: any corpus, the MMDocIR training set included, and the size of its pages."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mmr5.cache import Cache
from mmr5.data.corpus import Corpus, load_corpus
from mmr5.data.rows import Row
from mmr5.engines.base import Engine
from mmr5.errors import CorpusError
from mmr5.types import Progress


def open_corpus(name_or_folder: str | Path, *, cache: Cache | None = None) -> Corpus:
    """Load a corpus, or MMDocIR's training set from the folder that holds ``annotations_top1_negative`` and ``parquet``.

    Raises:
        CorpusError: the folder or one of its files is missing or breaks the format.
    """
    from mmr5.data.mmdocir_training import ANNOTATIONS, load_training

    folder = Path(name_or_folder)
    if (folder / ANNOTATIONS).is_dir():
        return load_training(folder)
    return load_corpus(name_or_folder, cache=cache)


def mean_pixels(rows: Sequence[Row], corpus: Corpus, *, progress: Progress | None = None) -> list[float]:
    """The mean size in pixels of each row's pages (paper section 3.3.1 leaves the key open); each page is looked at once.

    Raises:
        CorpusError: the corpus lacks a document, or a page has no picture.
        PageError: a picture cannot be decoded.
    """
    wanted: dict[str, set[int]] = {}
    for row in rows:
        wanted.setdefault(row.doc_name, set()).update(row.page_ids)
    pixels: dict[tuple[str, int], int] = {}
    for done, (doc_name, page_ids) in enumerate(wanted.items()):
        if progress is not None:
            progress("measuring pages", done, len(wanted))
        pages = corpus.document_pages(doc_name)
        for page_id in sorted(page_ids):
            image = pages[page_id].image
            if image is None:
                raise CorpusError(f"{doc_name} page id {page_id} has no picture: rows cannot be balanced over page sizes")
            width, height = image.load().size
            pixels[doc_name, page_id] = width * height
    if progress is not None:
        progress("measuring pages", len(wanted), len(wanted))
    return [sum(pixels[row.doc_name, page_id] for page_id in row.page_ids) / len(row.page_ids) for row in rows]


def open_teacher(
    model: str,
    engine: str,
    base_url: str | None,
    tries: int,
    workers: int,
    device: str = "auto",
    dtype: str = "auto",
    progress: Progress | None = None,
) -> tuple[Engine, int, bool]:
    """The engine of a teacher.

    Args:
        model: its name on the server, a folder with a checkpoint, or a hub name.
        engine: ``openai``, ``transformers`` or ``scripted``.
        base_url: of the server, for ``openai``.
        tries: how often a request is sent when the backend fails.
        workers: requests at the same time.
        device: for ``transformers``.
        dtype: for ``transformers``.
        progress: told of the loading.

    Returns:
        The engine; how often the driver itself tries (once where the engine does, which knows when the server wants to be asked
        again); and whether it does one thing at a time.

    Raises:
        ConfigError: an address that is missing, or given to an engine without a server.
        ModelNotFoundError: there is no such model.
    """
    from mmr5.engines.open import open_engine

    served = engine == "openai"
    own = {"concurrency": workers, "retries": tries - 1} if served else {}
    opened, _ = open_engine(model, engine, base_url, device, dtype, None, progress, **own)
    return opened, 1 if served else tries, engine == "transformers"
