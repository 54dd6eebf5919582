import gzip
import hashlib
import io
import json
import lzma
import shutil
import tarfile
import threading

import pytest

from mmr5.cli.main import main
from mmr5.corpora import debian, load_corpus
from mmr5.corpora.opendocs import NAMES, Origin, annotations_folder, fetch_documents, fetch_opendocs, pdf_folder
from mmr5.corpora.records import Document
from mmr5.errors import CorpusError, EngineError, InputError, MissingExtraError
from mmr5.storage.cache import Cache

PDFS = {name: f"%PDF-1.4 {name}".encode() for name in ("one", "two", "link")}
PATHS = {"one": "/usr/share/doc/pack/one.pdf", "two": "/usr/share/doc/pack/two.pdf.gz", "link": "/usr/share/doc/pack/link.pdf"}


def deb(path, members, *, links=(), packer=lzma.compress, suffix=".xz"):
    """A Debian package with some files."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo("." + name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        for name, target in links:
            info = tarfile.TarInfo("." + name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            archive.addfile(info)
    parts = [("debian-binary", b"2.0\n"), ("control.tar.xz", b"odd"), (f"data.tar{suffix}", packer(buffer.getvalue()))]
    data = b"!<arch>\n"
    for name, content in parts:
        data += (
            f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(content):<10}".encode()
            + b"`\n"
            + content
            + b"\n" * (len(content) % 2)
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def package(path, **options):
    members = {PATHS["one"]: PDFS["one"], PATHS["two"]: gzip.compress(PDFS["two"]), "/usr/share/doc/real.pdf": PDFS["link"]}
    return deb(path, members, links=[(PATHS["link"], "../real.pdf")], **options)


def documents(**other):
    return [
        Document(name, "none", 1, extra={"debian_package": "pack", "version": "1-1", "path": PATHS[name],
                                         "sha256": other.get(name) or hashlib.sha256(PDFS[name]).hexdigest()})
        for name in PDFS
    ]  # fmt: skip


class Archive:
    """Stands for apt-get: copies a package, and counts."""

    def __init__(self, source, fail=False):
        self.source, self.fail, self.calls, self.lock = source, fail, [], threading.Lock()

    def __call__(self, name, version, folder):
        with self.lock:
            self.calls.append((name, version))
        if self.fail:
            raise EngineError("the archive is away", retryable=True)
        return shutil.copy(self.source, folder / self.source.name) and folder / self.source.name


def test_documents_of_a_package_share_one_download_and_a_second_fetch_does_nothing(tmp_path):
    archive = Archive(package(tmp_path / "pack_1-1_all.deb"))
    fetched = fetch_documents(documents(), tmp_path / "pdf", download=archive)
    assert (fetched.fetched, fetched.failed, archive.calls) == (("one", "two", "link"), {}, [("pack", "1-1")])
    assert {name: (tmp_path / "pdf" / f"{name}.pdf").read_bytes() for name in PDFS} == PDFS
    again = fetch_documents(documents(), tmp_path / "pdf", download=archive)
    assert again.present == ("one", "two", "link") and len(archive.calls) == 1


def test_a_fetch_goes_on_where_it_stopped_and_replaces_a_damaged_file(tmp_path):
    archive = Archive(package(tmp_path / "pack_1-1_all.deb"))
    (tmp_path / "pdf").mkdir()
    (tmp_path / "pdf" / "one.pdf").write_bytes(PDFS["one"])
    (tmp_path / "pdf" / "two.pdf").write_bytes(b"cut")
    fetched = fetch_documents(documents(), tmp_path / "pdf", download=archive)
    assert fetched.present == ("one",) and fetched.fetched == ("two", "link")


def test_another_version_is_refused_by_its_checksum_and_the_others_are_kept(tmp_path):
    archive = Archive(package(tmp_path / "pack_1-1_all.deb"))
    fetched = fetch_documents(documents(two="0" * 64), tmp_path / "pdf", download=archive)
    assert fetched.fetched == ("one", "link") and "sha256" in fetched.failed["two"] and "--from FOLDER" in fetched.failed["two"]
    assert not (tmp_path / "pdf" / "two.pdf").exists()
    with pytest.raises(CorpusError, match="1 of 3 documents could not be had"):
        fetched.require_all()


def test_an_archive_out_of_reach_names_the_way_out_for_each(tmp_path):
    fetched = fetch_documents(documents(), tmp_path / "pdf", download=Archive(tmp_path / "x", fail=True))
    assert set(fetched.failed) == set(PDFS) and all(
        "the archive is away" in r and "--from FOLDER" in r for r in fetched.failed.values()
    )


@pytest.mark.parametrize("kind", ["deb", "unpacked", "pdfs", "gzip deb", "plain deb"])
def test_a_folder_in_place_of_the_archive(tmp_path, kind):
    source = tmp_path / "source"
    source.mkdir()
    if kind == "deb":
        package(source / "deep" / "pack_1-1_all.deb")
    elif kind == "gzip deb":
        package(source / "pack_1-1_all.deb", packer=gzip.compress, suffix=".gz")
    elif kind == "plain deb":
        package(source / "pack_1-1_all.deb", packer=bytes, suffix="")
    elif kind == "unpacked":
        (source / "usr").mkdir()
        (source / "usr" / "one.pdf").write_bytes(PDFS["one"])
        (source / "usr" / "two.pdf.gz").write_bytes(gzip.compress(PDFS["two"]))
        (source / "usr" / "link.pdf").write_bytes(PDFS["link"])
    else:
        for name, data in PDFS.items():
            (source / f"{name}.pdf").write_bytes(data)
    assert fetch_documents(documents(), tmp_path / "pdf", source=source).fetched == ("one", "two", "link")


def test_a_folder_that_lacks_them_or_is_none(tmp_path):
    assert set(fetch_documents(documents(), tmp_path / "pdf", source=tmp_path).failed) == set(PDFS)
    with pytest.raises(CorpusError, match="there is no folder"):
        fetch_documents(documents(), tmp_path / "pdf", source=tmp_path / "gone")
    with pytest.raises(CorpusError, match="no debian_package, version, path, sha256"):
        fetch_documents([Document("bare", "none", 1)], tmp_path / "pdf")


@pytest.mark.parametrize("data", [b"", b"no package", b"!<arch>\n", b"!<arch>\n" + b"x" * 30])
def test_a_file_that_is_no_package_is_refused(tmp_path, data):
    (tmp_path / "x.deb").write_bytes(data)
    with pytest.raises(InputError, match="no Debian package"):
        debian.read_members(tmp_path / "x.deb", ["/a"])


def test_a_cut_package_is_refused_and_a_missing_file_is_none(tmp_path):
    whole = package(tmp_path / "pack_1-1_all.deb")
    assert debian.read_file(whole, "/not/there") is None
    assert debian.read_file(whole, PATHS["link"]) == PDFS["link"]
    whole.write_bytes(whole.read_bytes()[:-40])
    with pytest.raises(InputError, match="download it again"):
        debian.read_members(whole, ["/not/there"])


def test_without_apt_get_there_is_a_way_out(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CorpusError, match="use --from FOLDER"):
        debian.download("pack", "1-1", tmp_path)


def test_apt_get_is_asked_for_the_version_then_for_any(tmp_path, monkeypatch):
    tool = tmp_path / "bin" / "apt-get"
    tool.parent.mkdir()
    tool.write_text(
        '#!/bin/sh\nfor last; do :; done\necho "$last" >> "$0.log"\ncase "$last" in *=*) echo "E: no such version" >&2; exit 100;; esac\n: > pack_2_all.deb\n'
    )
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}:/bin:/usr/bin")
    (tmp_path / "new").mkdir()
    assert debian.download("pack", "1-1", tmp_path / "new").name == "pack_2_all.deb"
    assert (tool.parent / "apt-get.log").read_text().split() == ["pack=1-1", "pack"]
    tool.write_text('#!/bin/sh\necho "E: away" >&2\nexit 100\n')
    (tmp_path / "none").mkdir()
    with pytest.raises(EngineError, match=r"E: away.*apt-get update"):
        debian.download("pack", "1-1", tmp_path / "none")


def test_the_command_fetches_from_a_folder_and_fails_with_the_reasons(tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["data", "fetch", "opendocs", "--from", str(tmp_path), "--out", str(tmp_path / "pdf")])
    captured = capsys.readouterr()
    assert ended.value.code == 1 and "84 of 84 documents could not be had" in captured.err


@pytest.mark.parametrize(
    ("name", "documents", "pages", "questions", "unanswerable"),
    [
        ("opendocs", 84, 3889, 1909, 434),
        ("opendocs-multilingual", 24, 1102, 343, 48),
        ("opendocs-more", 61, 2895, 1226, 122),
    ],
)
def test_our_corpora_are_whole(name, documents, pages, questions, unanswerable):
    corpus = load_corpus(name)
    assert (len(corpus.documents), sum(d.pages for d in corpus.documents)) == (documents, pages)
    assert (len(corpus.questions), sum(not q.answerable for q in corpus.questions)) == (questions, unanswerable)
    assert all(len(Origin.of(d).sha256) == 64 for d in corpus.documents)
    assert name == "opendocs" or all(d.extra["licence"] for d in corpus.documents)
    splits = {d.doc_name: d.split for d in corpus.documents}
    assert all(splits[q.doc_name] == q.split for q in corpus.questions)
    assert all(q.near_misses for q in corpus.questions if not q.answerable and q.kind)


def test_no_document_is_in_two_of_our_corpora():
    corpora = [load_corpus(name) for name in NAMES]
    digests = [d.extra["sha256"] for corpus in corpora for d in corpus.documents]
    assert len(set(digests)) == len(digests) == 169
    names = [d.doc_name for corpus in corpora for d in corpus.documents]
    assert len(set(names)) == len(names)


def test_the_corpus_is_whole_and_every_document_has_an_origin_and_a_licence():
    corpus = load_corpus("opendocs")
    licences = json.loads((annotations_folder() / "licences.json").read_text())
    assert set(licences) == {d.doc_name for d in corpus.documents}
    assert all(entry["licence"] and entry["copyright_file"] for entry in licences.values())
    assert [d.split for d in corpus.documents].count("train") == 76
    assert all(set(q.why) == set(q.page_ids) for q in corpus.questions)
    unquoted = [page for q in corpus.questions for page in q.page_ids if page not in q.quotes]
    assert len(unquoted) == 4


def test_missing_pdfs_name_the_command_that_fetches_them(tmp_path):
    corpus = load_corpus("opendocs", cache=Cache(tmp_path))
    with pytest.raises(CorpusError, match="mmr5 data fetch opendocs"):
        corpus.document_pages("btt")
    assert pdf_folder(Cache(tmp_path)) == tmp_path / "corpora" / "opendocs" / "pdf"
    assert len(fetch_opendocs(cache=Cache(tmp_path), source=tmp_path).failed) == 84


def test_packages_by_other_packers_and_links_of_both_kinds(tmp_path, monkeypatch):
    zstandard = pytest.importorskip("zstandard")
    whole = package(tmp_path / "z.deb", packer=zstandard.compress, suffix=".zst")
    assert debian.read_file(whole, PATHS["one"]) == PDFS["one"]

    def absent(name):
        raise ImportError(name)

    monkeypatch.setattr(debian.importlib, "import_module", absent)
    with pytest.raises(MissingExtraError, match="pip install zstandard"):
        debian.read_file(whole, PATHS["one"])
    odd = package(tmp_path / "odd.deb", packer=bytes, suffix=".lz4")
    with pytest.raises(InputError, match=r"data\.tar\.lz4 is compressed in a way that is not known"):
        debian.read_file(odd, PATHS["one"])
    circle = deb(tmp_path / "circle.deb", {}, links=[("/a", "/b"), ("/b", "a")])
    assert debian.read_file(circle, "/a") is None
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        info = tarfile.TarInfo("./hard")
        info.type, info.linkname = tarfile.LNKTYPE, "./usr/real"
        archive.addfile(info)
        info = tarfile.TarInfo("./usr/real")
        info.size = 3
        archive.addfile(info, io.BytesIO(b"abc"))
    hard = deb(tmp_path / "hard.deb", {}, packer=lambda _: buffer.getvalue(), suffix="")
    assert debian.read_file(hard, "/hard") == b"abc"


def test_a_damaged_gzip_is_refused_by_name(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    (source / "two.pdf.gz").write_bytes(gzip.compress(PDFS["two"])[:-9])
    fetched = fetch_documents(documents(), tmp_path / "pdf", source=source)
    assert "two.pdf.gz of pack is damaged" in fetched.failed["two"]
