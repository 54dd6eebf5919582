"""The PDFs of our open corpora: from Debian packages, or from a folder, each checked by its sha256.

The annotations are part of this package; the PDFs are not, and lie in the cache after ``mmr5 data fetch opendocs``. Works for
every corpus folder whose ``docs.json`` names ``debian_package``, ``version``, ``path`` and ``sha256``.
"""

from __future__ import annotations

import gzip
import hashlib
import tempfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from mmr5.corpora import debian
from mmr5.corpora.folder import read_documents
from mmr5.corpora.records import Document
from mmr5.errors import CorpusError, InputError, IntegrityError, MMR5Error
from mmr5.storage.atomic import write_bytes
from mmr5.storage.cache import Cache
from mmr5.types import Progress

NAMES = ("opendocs", "opendocs-multilingual", "opendocs-more")
"""Our corpora: English, eleven other languages, and further English documents to train on."""
WORKERS = 4
"""Packages that are downloaded at the same time."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """What a fetch did.

    Attributes:
        folder: where the PDFs lie.
        present: documents that were there and right already.
        fetched: documents that were written.
        failed: document → why it could not be had.
    """

    folder: Path
    present: tuple[str, ...]
    fetched: tuple[str, ...]
    failed: dict[str, str]

    def require_all(self) -> None:
        """Refuse a fetch that is not whole.

        Raises:
            CorpusError: documents failed; the message names each with the way out.
        """
        if self.failed:
            lines = "\n".join(f"  {name}: {reason}" for name, reason in self.failed.items())
            total = len(self.present) + len(self.fetched) + len(self.failed)
            raise CorpusError(
                f"{len(self.failed)} of {total} documents could not be had (run again to go on from here):\n{lines}"
            )


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a document's PDF comes from.

    Attributes:
        package: the Debian package.
        version: the version that the sha256 was taken from.
        path: inside the package; gzipped where it ends in ``.gz``.
        sha256: of the PDF after decompression.
    """

    package: str
    version: str
    path: str
    sha256: str

    @staticmethod
    def of(document: Document) -> Origin:
        """Read the origin from a document's record.

        Raises:
            CorpusError: the record lacks a field.
        """
        names = ("debian_package", "version", "path", "sha256")
        values = [document.extra.get(name) for name in names]
        if not all(isinstance(value, str) and value for value in values):
            missing = [name for name, value in zip(names, values, strict=True) if not isinstance(value, str) or not value]
            raise CorpusError(f"{document.doc_name} cannot be fetched: its record in docs.json has no {', '.join(missing)}")
        return Origin(*map(str, values))


def annotations_folder(name: str = "opendocs") -> Path:
    """The questions, document list and licences of one of :data:`NAMES`, inside this package."""
    return Path(str(files("mmr5"))) / "corpora" / "opendocs" / name


def pdf_folder(cache: Cache, name: str = "opendocs") -> Path:
    """Where the PDFs of one of :data:`NAMES` are kept: ``<cache>/corpora/<name>/pdf`` (it may not exist yet)."""
    return cache.root / "corpora" / name / "pdf"


def fetch_opendocs(
    name: str = "opendocs",
    *,
    out: Path | None = None,
    source: Path | None = None,
    cache: Cache | None = None,
    workers: int = WORKERS,
    progress: Progress | None = None,
) -> Fetched:
    """Bring the PDFs of one of our corpora to this machine; see :func:`fetch_documents`.

    Args:
        name: one of :data:`NAMES`.
        out: where to put them; None stands for the cache, where ``load_corpus(name)`` looks.
        source: a folder to take them from instead of the Debian archive.
        cache: None stands for the default cache.
        workers: packages at the same time.
        progress: told of the documents.
    """
    store = Cache() if cache is None else cache
    if out is None:
        store.directory("corpora")
    documents = read_documents(annotations_folder(name) / "docs.json")
    return fetch_documents(documents, out or pdf_folder(store, name), source=source, workers=workers, progress=progress)


def fetch_documents(
    documents: Sequence[Document],
    folder: Path,
    *,
    source: Path | None = None,
    workers: int = WORKERS,
    progress: Progress | None = None,
    download: Callable[[str, str, Path], Path] = debian.download,
) -> Fetched:
    """Put ``<doc_name>.pdf`` of every document into a folder.

    What is there and right is skipped; each file is checked by its sha256 and appears whole or not at all, so an interrupted
    fetch goes on where it stopped. Documents of one package share its download. A failure does not stop the others.

    Args:
        documents: records with ``debian_package``, ``version``, ``path``, ``sha256``.
        folder: where the PDFs go.
        source: a folder that holds ``.deb`` files, unpacked packages, or the PDFs themselves; None downloads.
        workers: packages at the same time, at least 1.
        progress: told of the documents done.
        download: ``(package, version, empty folder) -> .deb``.

    Raises:
        CorpusError: a record lacks a field, or ``source`` is no folder.
    """
    origins = {d.doc_name: Origin.of(d) for d in documents}
    present = [name for name, origin in origins.items() if _is_right(folder / f"{name}.pdf", origin)]
    groups: dict[tuple[str, str], dict[str, Origin]] = {}
    for name, origin in origins.items():
        if name not in present:
            groups.setdefault((origin.package, origin.version), {})[name] = origin
    provide = _from_folder(source) if source is not None else _from_archive(download)
    failed: dict[str, str] = {}
    done = len(present)
    with ThreadPoolExecutor(max_workers=max(1, workers)) as pool:
        waiting = {pool.submit(_fetch_package, group, folder, provide): group for group in groups.values()}
        for future in as_completed(waiting):
            failed.update(future.result())
            done += len(waiting[future])
            if progress is not None:
                progress("fetching documents", done, len(origins))
    fetched = tuple(name for name in origins if name not in present and name not in failed)
    return Fetched(folder, tuple(present), fetched, {name: failed[name] for name in origins if name in failed})


Provider = Callable[[dict[str, Origin]], Iterator[tuple[str, bytes]]]
"""From the documents of one package to ``(doc_name, bytes)``; the bytes may be gzipped, and may be wrong."""


def _fetch_package(group: dict[str, Origin], folder: Path, provide: Provider) -> dict[str, str]:
    """Write the documents of one package; the reasons of those that failed."""
    reasons = {name: "its file was not found; " + _by_hand(origin) for name, origin in group.items()}
    try:
        for name, data in provide(group):
            if name not in reasons:
                continue
            try:
                write_bytes(folder / f"{name}.pdf", checked(data, group[name]))
                del reasons[name]
            except (IntegrityError, InputError) as error:
                reasons[name] = str(error)
            if not reasons:
                break
    except MMR5Error as error:
        reasons.update({name: f"{error}; {_by_hand(group[name])}" for name in reasons})
    return reasons


def checked(data: bytes, origin: Origin) -> bytes:
    """The PDF in ``data``, decompressed where needed.

    Raises:
        InputError: it is damaged.
        IntegrityError: its sha256 is not the recorded one.
    """
    if origin.path.endswith(".gz") and data[:2] == b"\x1f\x8b":
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error) as error:
            raise InputError(f"{origin.path} of {origin.package} is damaged ({error}): get it again") from error
    found = hashlib.sha256(data).hexdigest()
    if found != origin.sha256:
        raise IntegrityError(
            f"{origin.path} has sha256 {found[:16]}…, not {origin.sha256[:16]}…: it is from another version than "
            f"{origin.package} {origin.version}; {_by_hand(origin)}"
        )
    return data


def _by_hand(origin: Origin) -> str:
    return (
        f"get Debian 12 package {origin.package} version {origin.version} (file {origin.path}) "
        "from a Debian archive and use --from FOLDER"
    )


def _is_right(path: Path, origin: Origin) -> bool:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest() == origin.sha256
    except OSError:
        return False


def _from_archive(download: Callable[[str, str, Path], Path]) -> Provider:
    def provide(group: dict[str, Origin]) -> Iterator[tuple[str, bytes]]:
        first = next(iter(group.values()))
        with tempfile.TemporaryDirectory(prefix="mmr5-fetch-") as temporary:
            deb = download(first.package, first.version, Path(temporary))
            yield from _out_of_deb(deb, group)

    return provide


def _from_folder(source: Path) -> Provider:
    """Candidates by name: the PDF itself, its path in an unpacked package, or a ``.deb`` of its package."""
    if not source.is_dir():
        raise CorpusError(f"there is no folder {source}: give one that holds .deb files, unpacked packages or the PDFs")
    by_name: dict[str, list[Path]] = {}
    debs: list[Path] = []
    for path in sorted(source.rglob("*")):
        if path.is_file():
            by_name.setdefault(path.name, []).append(path)
            if path.suffix == ".deb":
                debs.append(path)

    def provide(group: dict[str, Origin]) -> Iterator[tuple[str, bytes]]:
        for name, origin in group.items():
            inside = origin.path.rsplit("/", 1)[-1]
            for candidate in (f"{name}.pdf", inside, inside.removesuffix(".gz")):
                for path in by_name.get(candidate, ()):
                    yield name, _read(path)
        for deb in debs:
            package = deb.name.split("_")[0]
            yield from _out_of_deb(deb, {n: o for n, o in group.items() if o.package == package})

    return provide


def _out_of_deb(deb: Path, group: dict[str, Origin]) -> Iterator[tuple[str, bytes]]:
    if not group:
        return
    members = debian.read_members(deb, {origin.path for origin in group.values()})
    for name, origin in group.items():
        member = members.get(origin.path)
        data = member.data if member is not None and member.link is None else None
        if member is not None and member.link is not None:
            data = debian.read_file(deb, member.link)
        if data is not None:
            yield name, data


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
