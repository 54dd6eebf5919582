import shutil
import threading
import uuid
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import mmr5
from mmr5.documents import to_pages
from mmr5.errors import ConfigError, DocumentError, InputError, OutputError, SourceNotFoundError
from mmr5.pages import read_pages
from mmr5.retrieval import dense, find_candidates, open_retriever
from mmr5.retrieval.index import Index, adding, collection, reading, snapshot, table
from mmr5.settings import ReadingSettings
from mmr5.types import Page
from support import reading as readers
from support.corpora import draw_pdf
from support.encoders import colbert, sentence_encoder

FACTS = {
    "en": ["The harbour fees for yachts are 31 euros a night.", "A dredger cleared the eastern channel in 1931.", "Lighthouse keepers polish the lamp every evening."],
    "de": ["Die Hafengebühren für Jachten betragen 31 Euro je Nacht.", "Der Leuchtturm wurde im Jahr 1904 gebaut und gestrichen."],
    "fr": ["Les droits de port des voiliers sont de trente euros par nuit.", "La cloche de brume sonne quand le vent vient de la mer."],
    "zh": ["港口的费用是每晚三十一欧元，春天会上涨。", "灯塔建于一九〇四年，守塔人每天晚上擦灯。"],
}  # fmt: skip
QUESTIONS = [
    "What do yachts pay a night?",
    "Was kostet der Hafen für Jachten?",
    "灯塔是什么时候建的？",
    "quand sonne la cloche",
    "lamp",
    "1904",
    "zzz qqq",
]


def many(n=60):
    """Pages of documents in four languages, some alike, one empty, and one that nobody has read."""
    rng = np.random.default_rng(0)
    pages = []
    for i in range(n):
        spoken = [*FACTS][i // 12 % 4]
        lines = [FACTS[spoken][int(k)] for k in rng.integers(0, len(FACTS[spoken]), 1 + i % 3)]
        pages.append(Page(f"report {i // 6}.txt", i % 6 + 1, " ".join(lines) + f" {i}"))
    pages[7] = replace(pages[7], text="")
    pages[20] = replace(pages[20], text=None)
    return pages


def same(index, pages, name, n=10):
    """The stored candidates are those of the first stage in memory."""
    memory = open_retriever(name, pages)
    for question in QUESTIONS:
        a, b = find_candidates(question, pages, memory, n), index.candidates(question, n, retriever=name)
        assert b.indices == a.indices, question
        assert b.scores == pytest.approx(a.scores, abs=2e-5)
        assert b.pages == a.pages
        assert (b.scale, b.pooled) == (a.scale, a.pooled)


@pytest.fixture
def folder(tmp_path):
    """Two PDFs and a text."""
    home = tmp_path / "docs"
    (home / "sub").mkdir(parents=True)
    draw_pdf(home / "fees.pdf", ["Harbour fees are 31 euros.", "Dredging began in 1931."])
    draw_pdf(home / "sub" / "light.pdf", ["The lighthouse was built in 1904."])
    (home / "notes.md").write_text("# Fog bell\n\nA diver brought up the fog bell for 12 crowns.\n")
    return home


@pytest.fixture
def words(tmp_path):
    return Index.open(tmp_path / "words.index", create=True, retriever="bm25")


def test_hybrid_finds_what_it_finds_in_memory(tmp_path, real_cache):
    pages = many()
    index = Index.open(tmp_path / "all.index", create=True)
    assert index.retriever == "hybrid"
    index.add_pages(pages)
    assert len(index) == len(pages)
    for name in ("hybrid", "bm25", "dense"):
        for n in (1, 10, 200):
            same(index, pages, name, n)
    with pytest.raises(ConfigError, match="holds nothing for the first stage 'minilm': use hybrid, bm25, dense, or"):
        index.candidates("lamp", 3, retriever="minilm")


def test_looked_up_vectors_find_nearly_all(tmp_path, real_cache, monkeypatch):
    """Beyond a size the vectors have an index; what is found is scored exactly all the same."""
    monkeypatch.setattr(table, "SCANNED_PAGES", 100)
    monkeypatch.setattr(snapshot, "LISTED", 100)
    pages = many(400)
    index = Index.open(tmp_path / "large.index", create=True)
    index.add_pages(pages)
    assert not index.stats().exact
    memory = open_retriever("hybrid", pages)
    found = wanted = 0
    for question in QUESTIONS:
        a, b = find_candidates(question, pages, memory, 10), index.candidates(question, 10)
        scores = memory.scores(question)
        assert len(b) == 10
        assert b.scores == pytest.approx([scores[i] for i in b.indices], abs=2e-5)
        found += sum(score >= a.scores[-1] - 1e-4 for score in b.scores)  # among pages alike either will do
        wanted += 10
    assert found >= 0.95 * wanted
    few = index.candidates("lamp", 400, where="source = 'report 3.txt'")
    assert {page.source for page in few.pages} == {"report 3.txt"} and len(few) == 6
    before = index.stats().version
    index.add_pages([Page("late.txt", 1, "A late page about the tariff of the lagoon.")])
    assert index.stats().version > before
    assert index.candidates("tariff of the lagoon", 1).pages[0].source == "late.txt"


def test_pages_are_found_by_words_before_they_are_embedded(tmp_path, real_cache, monkeypatch):
    """Texts are stored first; embedding goes on after a kill, and a page that changed meanwhile is embedded as it is then."""
    monkeypatch.setattr(adding, "EMBED_PAGES", 16)
    monkeypatch.setattr(snapshot, "EMBEDDED_NOW", 4)
    mark = uuid.uuid4().hex  # words that no earlier run has embedded
    pages = [replace(page, text=page.text and f"{page.text} {mark}") for page in many()]
    index = Index.open(tmp_path / "slow.index", create=True)
    assert index.add_pages(pages, embed=False).added == 10
    waiting = sum(bool(page.text) for page in pages)
    assert index.stats().waiting == waiting
    assert index.problems([])[0].message.startswith(
        f"{waiting} of 60 pages are found by their words alone so far: mmr5 index embed"
    )
    first = index.candidates("The lamp of the lighthouse keepers", 3)
    exact = dict(enumerate(open_retriever("hybrid", pages).scores("The lamp of the lighthouse keepers")))
    assert "lamp" in first.pages[0].text and first.scores[0] == pytest.approx(exact[first.indices[0]], abs=1e-3)
    calls = []

    def stop(self, given, progress=None):
        calls.append(given)
        if len(calls) == 5:
            raise KeyboardInterrupt
        if len(calls) == 1:  # another writer
            Index.open(index.place).add_pages([replace(pages[1], text="Words that came while it was embedded.")], embed=False)
        return made(self, given)

    made = dense.PassageEncoder.pages
    monkeypatch.setattr(dense.PassageEncoder, "pages", stop)
    with pytest.raises(KeyboardInterrupt):
        index.embed()
    monkeypatch.undo()
    left = index.stats().waiting
    assert 0 < left < waiting
    assert index.embed() == left and index.stats().waiting == 0 and not index.problems([])
    now = [page for page in pages if page.source != pages[1].source]
    now.insert(0, replace(pages[1], text="Words that came while it was embedded."))
    same(index, now, "hybrid")


@pytest.mark.parametrize("kind", ["text", "late"])
def test_any_first_stage_that_embeds_can_be_stored(tmp_path, kind):
    make = sentence_encoder if kind == "text" else colbert
    name = f"{kind}:{make(tmp_path / 'model')}"
    pages = [page for page in many(30) if page.text]
    index = Index.open(tmp_path / "own.index", create=True, retriever=name)
    index.add_pages(pages)
    memory = open_retriever(name, pages)
    for question in QUESTIONS:
        a, b = find_candidates(question, pages, memory, 5), index.candidates(question, 5)
        assert b.scores == pytest.approx(a.scores, abs=2e-2 if kind == "late" else 1e-4)
    again = Index.open(tmp_path / "own.index")
    assert again.retriever == name and len(again.candidates("lamp", 3)) == 3


def test_adding_is_incremental_by_content(folder, words, monkeypatch):
    done = words.add(folder)
    assert (done.added, done.updated, done.unchanged, done.pages) == (3, 0, 0, 4)
    assert [document.source for document in words.documents()] == ["fees.pdf", "notes.md", "sub/light.pdf"]
    version = words.stats().version
    read = []
    monkeypatch.setattr(collection, "read_documents", lambda todo, *rest: read.append(len(todo)) or [])
    assert words.add(folder) == adding.Added(unchanged=3) and not read
    assert words.stats().version == version
    (folder / "fees.pdf").touch()
    assert words.add(folder) == adding.Added(unchanged=3) and not read
    monkeypatch.undo()
    draw_pdf(folder / "fees.pdf", ["Harbour fees are 35 euros.", "A third page.", "And a fourth."])
    done = words.add(folder)
    assert (done.added, done.updated, done.unchanged, done.pages) == (0, 1, 2, 3)
    assert len(words) == 5
    assert words.candidates("what are the fees", 1).pages[0].text == "Harbour fees are 35 euros."
    assert not [page for page in words.candidates("1931", 5).pages if "1931" in page.text]
    draw_pdf(folder / "new.pdf", ["New here."])
    assert words.add(folder).added == 1


def test_pages_come_back_as_they_were_read(folder, words, picture):
    (folder / "scan.png").write_bytes(picture())
    (folder / "page.html").write_text("<html><body><h1>Tide table</h1><p>High water at nine.</p></body></html>")
    read = read_pages(folder, on_problem=lambda problem: None)
    words.add(folder, workers=2)
    for document in words.documents():
        own = [page for page in read if page.source == document.source]
        back = words.pages(document.source)
        assert [replace(page, image=None) for page in back] == [replace(page, image=None) for page in own]
        for a, b in zip(own, back, strict=True):
            assert (a.image is None) == (b.image is None)
            if a.image is not None:
                assert b.image.key == a.image.key
                assert b.image.load(40_000).tobytes() == a.image.load(40_000).tobytes()
            if a.boxes is not None:
                spans = [(0, len(a.text))]
                got, want = b.boxes.each(spans), a.boxes.each(spans)
                assert [len(boxes) for boxes in got] == [len(boxes) for boxes in want]
                assert np.allclose([box for boxes in got for box in boxes], [box for boxes in want for box in boxes], atol=0.02)
    assert words.page("fees.pdf", 2).text == "Dredging began in 1931."
    with pytest.raises(SourceNotFoundError, match="has no page 9 in the index: it has 2"):
        words.page("fees.pdf", 9)
    with pytest.raises(SourceNotFoundError, match=r"no document 'gone\.pdf'"):
        words.pages("gone.pdf")


def test_metadata_filter(folder, words):
    words.add(folder / "fees.pdf", metadata={"year": 2024, "team": "harbour"})
    words.add(folder / "sub", metadata={"year": 1904})
    words.add(folder / "notes.md", metadata_of={str(folder / "notes.md"): {"team": "archive"}})
    assert [d.source for d in words.documents("year >= 2000")] == [str(folder / "fees.pdf")]
    assert len(words.candidates("the", 9, where="year < 2000 or team = archive")) == 2
    assert [page.number for page in words.candidates("1931", 9, where="page = 2").pages] == [2]
    assert len(words.candidates("1931", 9, where="kind = gif")) == 0
    assert words.add(folder / "fees.pdf", metadata={"year": 2025}).updated == 1
    assert words.documents("year = 2025")[0].metadata == {"year": 2025.0}
    assert words.add(folder / "fees.pdf").unchanged == 1
    draw_pdf(folder / "fees.pdf", ["Other words."])
    assert words.add(folder / "fees.pdf").updated == 1
    assert words.documents("year = 2025")[0].pages == 1, "metadata stay with a document that is read anew"
    for bad, said in (({"source": "x"}, "cannot be called 'source'"), ({"a": [1]}, "is a list"), ({" ": 1}, "cannot be called")):
        with pytest.raises(ConfigError, match=said):
            words.add(folder / "fees.pdf", metadata=bad)


def test_remove(folder, words):
    words.add(folder)
    assert [document.source for document in words.remove("notes.md")] == ["notes.md"]
    with pytest.raises(SourceNotFoundError, match=r"no document 'notes\.md'"):
        words.remove(["fees.pdf", "notes.md"])
    assert len(words.documents()) == 2, "nothing is removed where one name is wrong"
    assert [document.source for document in words.remove(folder / "sub")] == ["sub/light.pdf"]
    assert len(words) == 2 and not words.candidates("lighthouse 1904", 5).scores[0]
    words.remove(folder)
    assert len(words) == 0
    assert words.add(folder).added == 3


def test_two_files_of_one_name_have_two_names(tmp_path, words):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "report.md").write_text(f"Report {name} about tides.\n")
    words.add(tmp_path / "a")
    words.add(tmp_path / "b")
    assert [document.source for document in words.documents()] == [str(tmp_path / "b" / "report.md"), "report.md"]
    assert words.add([tmp_path / "a", tmp_path / "b"]).unchanged == 2


def test_what_cannot_be_read_is_said_and_takes_nothing_with_it(folder, words):
    (folder / "broken.pdf").write_bytes(b"%PDF-1.7 nothing more")
    (folder / "movie.epub").write_bytes(b"PK")
    said = []
    done = words.add(folder, on_problem=said.append)
    assert done.added == 3
    assert {problem.source for problem in said} == {"broken.pdf", "movie.epub"} and list(done.problems) == said
    with pytest.raises(DocumentError, match=r"nothing could be added: .*broken\.pdf"):
        words.add(folder / "broken.pdf", on_problem=said.append)
    with pytest.raises(DocumentError, match="no such file"):
        words.add(folder / "missing.pdf", on_problem=said.append)
    with pytest.raises(ConfigError, match="workers is 0"):
        words.add(folder, workers=0)
    with pytest.raises(DocumentError, match="no sources"):
        words.add([])


def test_a_file_that_ends_its_reader_is_left_out(folder, words, monkeypatch):
    monkeypatch.setattr(reading, "read_document", readers.read_or_die)
    for i in range(4):
        draw_pdf(folder / f"more {i}.pdf", [f"More about tides {i}."])
    draw_pdf(folder / "deadly.pdf", ["It ends what reads it."])
    said = []
    done = words.add(folder, workers=2, on_problem=said.append)
    assert done.added == 7 and len(words.documents()) == 7
    assert [(p.source, p.message) for p in said] == [("deadly.pdf", reading.CRASHED)]


def test_two_writers_at_once_store_everything_once(tmp_path):
    homes = []
    for name in "ab":
        home = tmp_path / name
        home.mkdir()
        for i in range(12):
            (home / f"{name}{i}.md").write_text(f"Tide {i} of harbour {name} rises.\n")
        homes.append(home)
    errors = []

    def write(order):
        try:
            index = Index.open(tmp_path / "both.index", create=True, retriever="bm25")
            for home in order:
                index.add(home, workers=1)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=(order,)) for order in (homes, homes[::-1], homes)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    index = Index.open(tmp_path / "both.index")
    assert len(index.documents()) == len(index) == 24
    assert len(index.candidates("tide", 100)) == 24


def test_a_search_sees_one_state(folder, words):
    words.add(folder)
    before = words.snapshot()
    words.remove("notes.md")
    assert before.n_pages == 4 and len(before.candidates("fog bell", 9)) == 4
    assert words.snapshot().n_pages == 3


def test_documents_that_changed_are_told(folder, words):
    words.add(folder)
    assert words.problems(["fees.pdf"]) == []
    draw_pdf(folder / "fees.pdf", ["Something else."])
    (folder / "notes.md").unlink()
    assert [p.message for p in words.problems(["fees.pdf"])] == ["its file was changed after it was added: add it again"]
    assert "is not at" in words.problems(["notes.md"])[0].message
    assert words.page("fees.pdf", 1).text == "Harbour fees are 31 euros."


def test_search_through_a_searcher(folder, words, real_cache, tmp_path):
    words.add(folder)
    searcher = mmr5.Searcher(mmr5.Reranker.from_pretrained("none"), index=words)
    assert searcher.retriever == "bm25"
    result = searcher.search("What was paid for the fog bell?", top_n=1)
    assert (result[0].source, result[0].page, result.n_pages) == ("notes.md", 1, 4)
    assert result[0].index == 2
    given = searcher.search("What was paid for the fog bell?", read_pages(folder, on_problem=lambda problem: None))
    stored = searcher.search("What was paid for the fog bell?")
    assert [replace(line, score=None, first_stage_score=None) for line in stored] == [
        replace(line, score=None, first_stage_score=None) for line in given
    ]
    assert [line.score for line in stored] == pytest.approx([line.score for line in given], abs=1e-6)
    assert len(searcher.search("fees", where="kind = md")) == 1
    assert len(searcher.search("fees", where="page = 77")) == 0
    with pytest.raises(ConfigError, match="a filter is for a collection"):
        searcher.search("fees", read_pages(folder), where="kind = md")
    with pytest.raises(InputError, match="documents is None: give a list of pages, or a collection"):
        mmr5.Searcher(searcher.reranker).search("fees")
    with pytest.raises(ConfigError, match="holds nothing for the first stage 'dense'"):
        mmr5.Searcher(searcher.reranker, "dense", index=words)
    empty = Index.open(tmp_path / "empty.index", create=True, retriever="bm25")
    with pytest.raises(InputError, match="is empty"):
        mmr5.Searcher(searcher.reranker, index=empty).search("fees")
    errors = list(searcher.search_each(["", "fog bell"]))
    assert isinstance(errors[0], InputError) and errors[1][0].source == "notes.md"


def test_add_pages(words):
    pages, _ = to_pages(["Tides rise.", "Tides fall."], "text")
    words.add_pages(pages, metadata={"kind of": "note"})
    assert words.add_pages(pages).unchanged == len({page.source for page in pages})
    words.add_pages([Page("book", 1, "One."), Page("book", 3, "Three.")])
    words.add_pages([Page("book", 1, "One more.")])
    assert [page.text for page in words.pages("book")] == ["One more."]
    with pytest.raises(InputError, match="'book' has two pages of one number"):
        words.add_pages([Page("book", 1, "a"), Page("book", 1, "b")])


def test_what_is_no_index_is_refused(tmp_path, words, folder):
    with pytest.raises(SourceNotFoundError, match="no index at"):
        Index.open(tmp_path / "nowhere")
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="is a file"):
        Index.open(tmp_path / "file", create=True, retriever="bm25")
    with pytest.raises(ConfigError, match="was made for the first stage 'bm25', and 'hybrid' was asked"):
        Index.open(words.place, retriever="hybrid")
    for name in ("none", "bm25+dense"):
        with pytest.raises(ConfigError, match="cannot be made for the first stage"):
            Index.open(tmp_path / "other", create=True, retriever=name)
    (tmp_path / "odd" / "pages.lance").mkdir(parents=True)
    with pytest.raises(DocumentError, match="cannot be read"):
        Index.open(tmp_path / "odd")


def test_reading_settings_are_part_of_what_is_stored(folder, words):
    words.add(folder / "fees.pdf")
    assert words.add(folder / "fees.pdf", reading=ReadingSettings(ocr="never")).updated == 1


def test_stats(folder, words):
    words.add(folder)
    found = words.stats()
    assert (found.documents, found.pages, found.without_words, found.exact) == (3, 4, 0, True)
    assert found.bytes == sum(file.stat().st_size for file in Path(words.place).rglob("*") if file.is_file())
    assert repr(words) == f"Index({words.place!r}: 3 documents, 4 pages, bm25)"


def test_a_copy_that_went_another_way_keeps_frequencies_of_its_own(words, tmp_path):
    """Both have the same versions; what is summed over a collection is kept by its content."""
    words.add_pages([Page("a", 1, "The tide rises.")])
    shutil.copytree(words.place, tmp_path / "copy.index")
    copy = Index.open(tmp_path / "copy.index")
    words.add_pages([Page("b", i, f"Harbour number {i}.") for i in range(1, 9)])
    copy.add_pages([Page("b", i, f"Lighthouse number {i}.") for i in range(1, 9)])
    assert words.stats().version == copy.stats().version
    for index, word in ((words, "harbour"), (copy, "lighthouse")):
        pages = [page for document in index.documents() for page in index.pages(document.source)]
        memory = open_retriever("bm25", pages).scores(word)
        assert index.candidates(word, 9).scores == pytest.approx(sorted(memory, reverse=True), abs=1e-6)
        assert max(memory) > 0


def test_an_index_of_vectors_that_a_killed_writer_left_is_dropped(tmp_path, monkeypatch, capfd):
    name = f"text:{sentence_encoder(tmp_path / 'model')}"
    monkeypatch.setattr(table, "SCANNED_PAGES", 100)
    index = Index.open(tmp_path / "own.index", create=True, retriever=name)
    index.add_pages([replace(page, text=page.text or "x") for page in many(120)])
    kinds = type(index._store._table)
    with monkeypatch.context() as patch:
        patch.setattr(kinds, "drop_index", lambda self, name: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            index.add_pages([Page(f"more {i}", 1, f"More about tides {i}.") for i in range(120)])
    assert {len(own) for own in index._store._vector_indices().values()} == {2}
    assert len(index.candidates("tides", 5)) == 5
    index.add_pages([Page("last", 1, "The last one.")])
    assert "WARN" not in capfd.readouterr().err, "the table's own log stays out of the terminal"
    assert {len(own) for own in index._store._vector_indices().values()} == {1}
    assert len(index.candidates("tides", 5)) == 5


@pytest.mark.parametrize(("dimension", "kind"), [(12, "IvfSq"), (16, "IvfRq")])
def test_vectors_of_any_dimension_are_looked_up(tmp_path, monkeypatch, dimension, kind):
    monkeypatch.setattr(table, "SCANNED_PAGES", 100)
    store = table.Table(tmp_path / "own.index")
    store.make(table.Settings("own", {"vectors": "own"}, {"vectors": "1"}), {"vectors": dimension})
    vectors = np.random.default_rng(0).normal(size=(300, 1, dimension)).astype(np.float16)
    rows = pa.Table.from_pylist([{"id": f"a/{i}", "vectors": one.tolist()} for i, one in enumerate(vectors)], store.shape)
    store.put(rows, [])
    store.maintain(300)
    assert [one.index_type for one in store._table.list_indices() if one.columns == ["vectors"]] == [kind]
    asked = store._table.search(vectors[7, 0].astype(np.float32), vector_column_name="vectors").distance_type("cosine")
    assert asked.nprobes(16).limit(5).to_list()[0]["id"] == "a/7"


def test_another_failure_of_the_table_is_not_taken_for_a_broken_index(words, monkeypatch):
    asked = []

    def optimize(self, **how):
        asked.append(how)
        raise RuntimeError("no space left")

    monkeypatch.setattr(type(words._store._table), "optimize", optimize)
    with pytest.raises(RuntimeError, match="no space"):
        words._store.maintain(4)
    assert len(asked) == 1
