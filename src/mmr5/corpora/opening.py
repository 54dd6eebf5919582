"""The one way to open a corpus: by name, or from a folder in any of the known formats."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mmr5.corpora import mmdocir, mmdocir_training
from mmr5.corpora.folder import PdfStore, load_folder
from mmr5.corpora.opendocs import NAMES, annotations_folder, pdf_folder
from mmr5.corpora.records import Corpus, joined
from mmr5.errors import ConfigError, CorpusError
from mmr5.storage.cache import Cache
from mmr5.types import Progress

if TYPE_CHECKING:
    from mmr5.pages.settle import OcrMode


def load_corpus(
    name_or_folder: str | Path,
    *,
    cache: Cache | None = None,
    ocr: OcrMode = "auto",
    page_text: str | None = None,
    progress: Progress | None = None,
    picture_pages: int | None = None,
) -> Corpus:
    """Load a corpus.

    Args:
        name_or_folder: one of :data:`mmr5.corpora.opendocs.NAMES`, ``mmdocir``, or a folder: in the format of
            :mod:`mmr5.corpora.folder`, with MMDocIR's published evaluation files, or with its training set
            (``annotations_top1_negative`` and ``parquet``). Several, separated by commas, are one corpus.
        cache: where fetched corpora and page texts are kept; None stands for the default.
        ocr: how pages without a text layer are read: ``auto``, ``never``, ``always``.
        page_text: which text MMDocIR's pages get: ``ocr`` or ``vlm`` (a model's description); None takes ``ocr``.
        progress: told of the reading.
        picture_pages: most pages of a document whose pictures ``auto`` reads for words; None reads all.

    Raises:
        ConfigError: ``page_text`` is neither, or given for a corpus that has one text a page.
        CorpusError: the folder or one of its files is missing or breaks the format.
    """
    store = Cache() if cache is None else cache
    if page_text not in (None, "ocr", "vlm"):
        raise ConfigError(f"page_text is {page_text!r}: use ocr or vlm")
    name = str(name_or_folder)
    if "," in name and not Path(name).expanduser().is_dir():
        parts = [
            load_corpus(part.strip(), cache=store, ocr=ocr, page_text=page_text, progress=progress, picture_pages=picture_pages)
            for part in name.split(",")
        ]
        return joined(name, parts)
    if name in NAMES and page_text is None:
        pdfs = PdfStore(pdf_folder(store, name), f"run: mmr5 data fetch {name}", store, ocr, progress, picture_pages)
        return load_folder(annotations_folder(name), name=name, store=pdfs)
    folder = store.root / "corpora" / "mmdocir" if name == "mmdocir" else Path(name_or_folder).expanduser()
    if name == "mmdocir" or (folder / mmdocir.ANNOTATIONS).is_file():
        return mmdocir.load_evaluation(folder, text="vlm" if page_text == "vlm" else "ocr")
    if page_text is not None:
        raise ConfigError(f"page_text is {page_text!r}, and {name!r} has one text a page: use ocr (--ocr) instead")
    if (folder / mmdocir_training.ANNOTATIONS).is_dir():
        return mmdocir_training.load_training(folder)
    if not folder.is_dir():
        raise CorpusError(f"there is no corpus {name!r}: give {', '.join(NAMES)}, mmdocir, or a folder with docs.json")
    pdfs = PdfStore(folder / "pdf", cache=store, ocr=ocr, progress=progress, picture_pages=picture_pages)
    return load_folder(folder, name=folder.resolve().name, store=pdfs)
