"""Stored collections that a server searches: by name, each with its first stage; their pages' pictures."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mmr5.errors import ConfigError, PageError
from mmr5.pipeline import Searcher
from mmr5.reranker import Reranker
from mmr5.retrieval.index import Document, Index
from mmr5.server.document_worker import write_cards
from mmr5.server.http_errors import WireError
from mmr5.server.uploads import Upload, UploadService, is_pdf
from mmr5.settings import named_places
from mmr5.storage.cache import Cache
from mmr5.types import Page


def open_searchers(
    given: Sequence[str],
    reranker: Reranker,
    *,
    candidates: int | None = None,
    fusion: float | None = None,
    cache: Cache | None = None,
) -> dict[str, Searcher]:
    """A searcher for each collection, by name.

    Args:
        given: collections as ``NAME=FOLDER``, or folders, whose names are then theirs.
        reranker: ranks.
        candidates: as of :class:`mmr5.Searcher`.
        fusion: the same.
        cache: where embeddings are kept.

    Raises:
        ConfigError: two of one name.
        SourceNotFoundError: there is no such collection.
    """
    return {
        name: Searcher(reranker, candidates=candidates, index=Index.open(place, cache=cache), fusion=fusion, cache=cache)
        for name, place in named_places(given).items()
    }


@dataclass(frozen=True, slots=True)
class Collections:
    """The collections of a server.

    Attributes:
        searchers: by name.
        uploads: shows pages of files; a document's file is put into its store when a picture of it is asked for.
    """

    searchers: Mapping[str, Searcher]
    uploads: UploadService

    def searcher(self, name: str) -> Searcher:
        """The searcher of a collection.

        Raises:
            WireError: 404.
        """
        if name not in self.searchers:
            known = ", ".join(self.searchers) or "none"
            raise WireError(404, f"no index {name[:80]!r} is served here: there is {known}", reason="not_found")
        return self.searchers[name]

    def index(self, name: str) -> Index:
        """A collection.

        Raises:
            WireError: 404.
        """
        found = self.searcher(name).collection
        if found is None:
            raise ConfigError(f"the searcher {name!r} has no index")
        return found

    def document(self, name: str, key: str) -> Document:
        """A document of a collection.

        Raises:
            WireError: 404.
        """
        found = self.index(name).snapshot().by_key.get(key)
        if found is None:
            raise not_there()
        return found

    def addresses(self, name: str, document: Document, page: Page) -> dict[str, str | None]:
        """Where a page is shown: ``thumbnail`` and ``image``, and ``document``, the whole PDF opened at the page."""
        base = f"{self.uploads.settings.root_path}/v1/indexes/{name}/documents/{document.key}"
        pages = f"{base}/pages/{page.number}"
        original = f"{base}/original#page={page.number}" if document.path and document.kind == "pdf" else None
        return {"thumbnail": f"{pages}/thumbnail", "image": f"{pages}/image", "document": original}

    async def stored(self, document: Document) -> Upload:
        """A document's file in the store of uploads.

        Raises:
            WireError: 404 where the file is gone or was changed.
        """
        return await asyncio.to_thread(self._stored, document)

    def _stored(self, document: Document) -> Upload:
        file = document.file
        if file is None:
            raise not_there()
        try:
            file.check()
            if self.uploads.store.folder(file.digest) is not None:
                return Upload(file.digest, document.source)
            with file.path.open("rb") as stream:
                return Upload(self.uploads.store.add(stream, Path(document.source).name), document.source)
        except (PageError, OSError) as error:
            raise WireError(404, f"{document.source}: {error}", reason="not_found") from error

    async def picture(self, name: str, key: str, number: int, client: str, *, small: bool) -> Path:
        """The picture of a page.

        Args:
            name: of the collection.
            key: of the document.
            number: one-based page.
            client: who asks, for fairness.
            small: a thumbnail.

        Raises:
            WireError: 404 where there is no such page, or its file is gone; 422 where it cannot be drawn.
        """
        document = await asyncio.to_thread(self.document, name, key)
        at = self.index(name).snapshot()
        page = await asyncio.to_thread(at.page, key, number) if 1 <= number <= 10**6 else None
        if page is None:
            raise not_there()
        upload = await self.stored(document)
        folder = self.uploads.store.root / upload.id
        async with self.uploads.holding([upload]):
            if page.image is None:
                card = folder / f"{'thumb' if small else 'view'}-{number - 1}.svg"
                if not card.is_file():
                    await asyncio.to_thread(write_cards, page.text or "", folder, number - 1)
                return card
            draw = self.uploads.parser.thumbnail if small else self.uploads.parser.picture
            return await draw(folder, number - 1, document.source, client)

    async def original(self, name: str, key: str) -> tuple[Path, str]:
        """The PDF of a document, and what it is called.

        Raises:
            WireError: 404 where it is none, or gone.
        """
        document = await asyncio.to_thread(self.document, name, key)
        upload = await self.stored(document)
        file = self.uploads.original(upload.id)
        if not await asyncio.to_thread(is_pdf, file):
            raise not_there()
        return file, document.source


def not_there() -> WireError:
    """The refusal for a document or page that a collection does not hold."""
    return WireError(404, "the index does not hold this, or not any more", reason="not_found")
