"""MMDocIR's published formats, on small files of exactly their schemas."""

import copy
import json
import warnings

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmr5.cli.main import main
from mmr5.corpora import load_corpus, mmdocir, mmdocir_training, parquet
from mmr5.corpora.mmdocir import DOMAINS, fetch_evaluation, load_evaluation
from mmr5.corpora.mmdocir_training import find_subsets, load_training, overlapping_documents
from mmr5.corpora.parquet import ParquetImage, read_range
from mmr5.errors import CorpusError, EngineError, MMR5Warning, PageError
from support.tiny import Picture

BOX = {"page": 1, "page_size": [612, 792], "bbox": [10, 20, 110, 220]}
SHORT = {"Q": "How much?", "A": "12", "page_id": [1], "type": "['Table', 'Chart']", "layout_mapping": [BOX]}
LONG = {
    "Q": "When?",
    "A": ["nine", "six"],
    "page_id": [0, 2],
    "type": "meta-data",
    "layout_mapping": [],
    "evidence": "x",
    "layoutindex": [3],
}
TWICE = {"Q": "When?", "A": "nine", "page_id": [2, 2], "type": "[]", "layout_mapping": []}


def png(color):
    return Picture("x", color=color).png()


def evaluation(folder, *, change=None, pages=5, names=("first report", "second"), first_range=(0, 2)):
    """Two documents of three and two pages; rows of the page file are the key, and both ends of a range count."""
    records = [
        {
            "doc_name": "first report.pdf",
            "domain": "Financial report",
            "page_indices": list(first_range),
            "layout_indices": [0, 1],
            "questions": [SHORT, LONG, TWICE],
        },
        {
            "doc_name": "second.pdf",
            "domain": "News",
            "page_indices": [3, 4],
            "layout_indinces": [2, 2],
            "questions": [{**SHORT, "page_id": [1]}],
        },
    ]
    records = copy.deepcopy(records)
    if change is not None:
        change(records)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / mmdocir.ANNOTATIONS).write_text("".join(json.dumps(r) + "\n" for r in records))
    owners = [names[0]] * 3 + [names[1]] * 2
    rows = [
        {"doc_name": name, "domain": "d", "passage_id": str(i if i < 3 else i - 3), "image_path": f"{i}.jpg", "image_binary": png((40 * i, 0, 0)),
         "ocr_text": f"ocr {i}", "vlm_text": f"vlm {i}"}
        for i, name in enumerate(owners)
    ][:pages]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows), folder / mmdocir.PAGES)
    layouts = [
        {"doc_name": names[0] if i < 2 else names[1], "domain": "d", "type": kind, "layout_id": i, "page_id": page, "image_path": "x", "image_binary": png("white"),
         "text": text, "ocr_text": "seen", "vlm_text": "told", "bbox": [1, 2, 3, 4], "page_size": [612, 792]}
        for i, (kind, page, text) in enumerate([("text", 0, "words"), ("figure", 1, None), ("table", 0, None)])
    ]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(layouts), folder / mmdocir.LAYOUTS)
    return folder


def test_row_ranges_are_inclusive_and_names_lose_their_pdf(tmp_path):
    corpus = load_evaluation(evaluation(tmp_path))
    assert [(d.doc_name, d.pages) for d in corpus.documents] == [("first report", 3), ("second", 2)]
    pages = corpus.document_pages("second")
    assert [p.text for p in pages] == ["ocr 3", "ocr 4"] and [p.number for p in pages] == [1, 2]
    assert pages[1].image.load().getpixel((0, 0)) == (160, 0, 0)
    assert corpus.domains == DOMAINS and len(DOMAINS) == 10 and DOMAINS[-1] == "News"


def test_both_schemas_repeated_questions_and_repeated_labels(tmp_path):
    questions = load_evaluation(evaluation(tmp_path)).questions
    assert [q.qid for q in questions] == ["first report#0", "first report#1", "first report#2", "second#0"]
    assert questions[1].question == questions[2].question == "When?"
    assert questions[1].page_ids == (0, 2) and questions[2].page_ids == (2, 2)
    assert questions[0].type == "['Table', 'Chart']" and questions[1].answer == "['nine', 'six']"
    assert questions[0].layouts[0].bbox == (10.0, 20.0, 110.0, 220.0) and {q.split for q in questions} == {"test"}


def test_texts_of_a_model_and_layouts_with_the_misspelt_key(tmp_path):
    corpus = load_evaluation(evaluation(tmp_path), text="vlm")
    assert corpus.document_pages("first report")[2].text == "vlm 2"
    first, second = corpus.documents
    assert [(x.type, x.text) for x in corpus.store.layouts(first)] == [("text", "words"), ("figure", "told")]
    assert [(x.type, x.text) for x in corpus.store.layouts(second)] == [("table", "told")]
    assert corpus.store.layout_image(second, 0).load().size == (84, 112)


def test_a_folder_with_the_published_files_is_a_corpus(tmp_path):
    assert load_corpus(evaluation(tmp_path)).name == "mmdocir"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda r: r[0].update(page_indices=[0, 3]), "overlap at row 3"),
        (lambda r: (r[0].update(page_indices=[1, 3]), r[1].update(page_indices=[4, 4], questions=[])), "row 3: belongs to 'second', expected 'first report'"),
        (lambda r: r[1].update(page_indices=[3, 9]), r"\[3, 9\], and .* has 5 rows"),
        (lambda r: r[0].update(page_indices=[2, 0]), "inclusive"),
        (lambda r: r[0]["questions"][0].update(page_id=[3]), "holds 3, and first report has 3 pages"),
        (lambda r: r[0]["questions"][0].update(page_id=[-1]), "holds -1"),
        (lambda r: r[0]["questions"][0].update(page_id=[]), "at least one zero-based page"),
        (lambda r: r[1].update(doc_name="first report"), "used twice"),
        (lambda r: r[0].pop("layout_indices"), "layout_indices is None"),
        (lambda r: r[0]["questions"][0].update(Q=""), "question 1: Q is ''"),
        (lambda r: r[0]["questions"].append("x"), "question 4: expected one JSON object"),
        (lambda r: r[0]["questions"][0].update(layout_mapping=[{"page": 1, "bbox": [1]}]), "x1, y1, x2, y2"),
    ],
)  # fmt: skip
def test_files_that_do_not_belong_together_are_refused(tmp_path, change, said):
    with pytest.raises(CorpusError, match=said):
        load_evaluation(evaluation(tmp_path, change=change))


def test_pages_out_of_order_and_missing_files_are_refused(tmp_path):
    folder = evaluation(tmp_path)
    table = pq.read_table(folder / mmdocir.PAGES).to_pylist()
    table[1]["passage_id"], table[2]["passage_id"] = "2", "1"
    pq.write_table(pa.Table.from_pylist(table), folder / mmdocir.PAGES)
    with pytest.raises(CorpusError, match="passage_id is '2' at page 1"):
        load_evaluation(folder).document_pages("first report")
    (folder / mmdocir.PAGES).write_bytes(b"nothing")
    with pytest.raises(CorpusError, match="no readable parquet file"):
        load_evaluation(folder)
    with pytest.raises(CorpusError, match="mmr5 data fetch mmdocir"):
        load_evaluation(tmp_path / "gone")


def test_fetching_repacks_large_groups_and_keeps_every_row(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(parquet, "LARGE_GROUP_BYTES", 10)
    monkeypatch.setattr(parquet, "GROUP_ROWS", 2)
    source = evaluation(tmp_path / "published")
    assert pq.ParquetFile(source / mmdocir.PAGES).metadata.num_row_groups == 1
    with pytest.raises(SystemExit) as ended:
        main(["data", "fetch", "mmdocir", "--from", str(source), "--out", str(tmp_path / "mine")])
    assert ended.value.code == 0 and "2 documents, 4 questions" in capsys.readouterr().out
    mine = tmp_path / "mine" / mmdocir.PAGES
    assert pq.ParquetFile(mine).metadata.num_row_groups == 3 and pq.read_table(mine).equals(pq.read_table(source / mmdocir.PAGES))
    assert [r["ocr_text"] for r in read_range(mine, 1, 4, ["ocr_text"])] == ["ocr 1", "ocr 2", "ocr 3"]
    (mine.parent / mmdocir.LAYOUTS).unlink()
    (source / mmdocir.LAYOUTS).unlink()
    assert len(fetch_evaluation(mine.parent, source=source).documents) == 2
    with pytest.raises(CorpusError, match=r"rows 4\.\.5 were asked for"):
        read_range(mine, 4, 6, ["ocr_text"])


def test_large_groups_are_read_forward_with_a_warning(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet, "LARGE_GROUP_BYTES", 10)
    monkeypatch.setattr(parquet, "GROUP_ROWS", 2)
    path = evaluation(tmp_path) / mmdocir.PAGES
    with pytest.warns(MMR5Warning, match="large row groups"):
        assert ParquetImage(path, "image_binary", 4).load().getpixel((0, 0)) == (160, 0, 0)
    assert ParquetImage(path, "image_binary", 1).load().getpixel((0, 0)) == (40, 0, 0)
    with pytest.raises(CorpusError, match="row 9"):
        ParquetImage(path, "image_binary", 9).read()


def test_the_hub_out_of_reach_names_the_way_out(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    with pytest.raises(EngineError, match="--from FOLDER"):
        fetch_evaluation(tmp_path / "mine")


def passage(name, page):
    return {"doc_name": name, "page_id": page}


def training(folder):
    """Two subsets with other columns, a document name in common, repeated rows, pages out of order and numbered from 1."""
    (folder / mmdocir_training.ANNOTATIONS).mkdir(parents=True)
    (folder / mmdocir_training.PARQUET).mkdir()
    rows = [
        {
            "file_name": "report.pdf",
            "page": page,
            "image": png((page, 0, 0)),
            "page_size": [1, 2],
            "layouts": "[]",
            "domain": "slides",
        }
        for page in (3, 1, 2)
    ]
    rows += [{**rows[0]}]
    pq.write_table(pa.Table.from_pylist(rows), folder / mmdocir_training.PARQUET / "SlideVQA_filter.parquet")
    wiki = [{"file_name": name, "page": 0, "image": {"bytes": png("white"), "path": "x"}} for name in ("report", "other/one")]
    pq.write_table(pa.Table.from_pylist(wiki), folder / mmdocir_training.PARQUET / "Wiki-ss_filter.parquet")
    lines = {
        "SlideVQA": [
            {"query_id": 7, "query": "a?", "positive_passages": [passage("report.pdf", 2), passage("report.pdf", 2)], "negative_passages": [passage("report.pdf", 3)]},
            {"query_id": 8, "query": "b?", "positive_passages": [passage("report", 1)], "negative_passages": [passage("elsewhere", 3)]},
            {"query_id": 9, "query": "c?", "positive_passages": [passage("report", 9)], "negative_passages": []},
            {"query_id": 9, "query": "d?", "positive_passages": [passage("report", 1), passage("elsewhere", 1)], "negative_passages": []},
        ],
        "Wiki-ss": [{"query": "e?", "positive_passages": [passage("report", 0)], "negative_passages": [passage("report", 0)]}] * 3,
    }  # fmt: skip
    for name, found in lines.items():
        (folder / mmdocir_training.ANNOTATIONS / f"{name}_train.jsonl").write_text(
            "".join(json.dumps(line) + "\n" for line in found)
        )
    return folder


def test_the_training_set_with_its_sharp_edges(tmp_path):
    folder = training(tmp_path)
    assert find_subsets(folder) == ["SlideVQA", "Wiki-ss"]
    with pytest.warns(MMR5Warning, match="passed over") as told:
        corpus = load_corpus(folder)
    said = str(told[0].message)
    assert (
        "2 x exact repetition" in said
        and "1 x a positive page that is not" in said
        and "1 x negatives in another document" in said
    )
    assert [d.doc_name for d in corpus.documents] == ["SlideVQA__report", "Wiki-ss__report", "Wiki-ss__other_one"]
    assert [(q.qid, q.question, q.page_ids, q.negatives) for q in corpus.questions] == [
        ("SlideVQA__report#0", "a?", (1,), (2,)), ("SlideVQA__report#1", "b?", (0,), ()), ("Wiki-ss__report#0", "e?", (0,), ()),
    ]  # fmt: skip
    pages = corpus.document_pages("SlideVQA__report")
    assert [p.image.load().getpixel((0, 0)) for p in pages] == [(1, 0, 0), (2, 0, 0), (3, 0, 0)] and pages[0].text is None
    assert corpus.document_pages("Wiki-ss__other_one")[0].image.load().size == (84, 112)
    assert len(corpus.document("SlideVQA__report").extra) == 2 and corpus.document("SlideVQA__report").domain == "slides"


def test_one_subset_alone_and_overlap_with_the_evaluation_set(tmp_path):
    folder = training(tmp_path / "train")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        corpus = load_training(folder, ["Wiki-ss"])
    held = load_evaluation(
        evaluation(tmp_path / "test", names=("first report", "Report"), change=lambda r: r[1].update(doc_name="Report.pdf"))
    )
    assert overlapping_documents(corpus.documents, held.documents) == ["Wiki-ss__report"]
    with pytest.raises(CorpusError, match="holds no MMDocIR training set"):
        load_training(tmp_path / "test")


def test_training_files_that_break_their_format(tmp_path):
    folder = training(tmp_path)
    path = folder / mmdocir_training.ANNOTATIONS / "Wiki-ss_train.jsonl"
    path.write_text(json.dumps({"query": "e?", "positive_passages": [], "negative_passages": []}) + "\n")
    with pytest.raises(CorpusError, match="line 1: positive_passages"):
        load_training(folder, ["Wiki-ss"])
    pq.write_table(
        pa.Table.from_pylist([{"file_name": "a", "page": 0}]), folder / mmdocir_training.PARQUET / "Wiki-ss_filter.parquet"
    )
    with pytest.raises(CorpusError, match="no column image"):
        load_training(folder, ["Wiki-ss"])
    empty = [{"file_name": "a", "page": 0, "image": b""}]
    pq.write_table(pa.Table.from_pylist(empty), folder / mmdocir_training.PARQUET / "Wiki-ss_filter.parquet")
    with pytest.raises(PageError, match="holds no image"):
        ParquetImage(folder / mmdocir_training.PARQUET / "Wiki-ss_filter.parquet", "image", 0).load()


def test_a_picture_in_a_parquet_file_is_known_by_its_content(tmp_path):
    path = evaluation(tmp_path) / mmdocir.PAGES
    first, again, other = (ParquetImage(path, "image_binary", row) for row in (0, 0, 1))
    assert first.key == again.key != other.key
    with pytest.raises(CorpusError, match="there is no file"):
        ParquetImage(tmp_path / "gone.parquet", "image_binary", 0).read()
    assert read_range(path, 2, 2, ["ocr_text"]) == []
    rows = [{"file_name": "a", "page": 0, "image": b"no picture"}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "bad.parquet")
    with pytest.raises(PageError, match=r"bad\.parquet, row 0"):
        ParquetImage(tmp_path / "bad.parquet", "image", 0).load()


def test_layouts_without_a_mapping_are_refused_and_an_unreadable_source_is_named(tmp_path):
    for mapping, said in (("x", "expected objects with page and bbox"), ({"page": None, "bbox": [1, 2, 3, 4]}, "page is None")):
        folder = evaluation(tmp_path / said[:4], change=lambda r, m=mapping: r[0]["questions"][0].update(layout_mapping=[m]))
        with pytest.raises(CorpusError, match=said):
            load_evaluation(folder)
    source = evaluation(tmp_path / "published")
    (source / mmdocir.PAGES).unlink()
    with pytest.raises(CorpusError, match="there is no file"):
        fetch_evaluation(tmp_path / "mine", source=source)
