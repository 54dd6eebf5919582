"""A paper's tables as files: what they hold, that they are measured once, and that every row runs on tiny checkpoints."""

import json
import tomllib

import pytest

from mmr5.cli.main import main
from mmr5.corpora import load_corpus
from mmr5.errors import ConfigError, SourceNotFoundError
from mmr5.evaluation import table_run
from mmr5.evaluation.benchmark import evaluate
from mmr5.evaluation.table_report import table_markdown
from mmr5.evaluation.table_run import run_table, why_not
from mmr5.evaluation.tables import Row, Table, load_table, shipped, slug
from mmr5.retrieval.names import NAMED
from mmr5.settings import EvaluationSettings, TableSettings
from support import encoders, tiny
from support.mmdocir import evaluation_set

SMALL = """
title = "Small"
corpus = "mmdocir"
candidates = 3
source = "somewhere"

[[row]]
name = "words"
retriever = "bm25"
macro = [0.5, 0.6, 0.7]
micro = [0.4, 0.5, 0.6]

[[row]]
name = "words + oracle"
retriever = "bm25"
model = "oracle"

[[row]]
name = "words + dice"
retriever = "bm25"
model = "random"

[[row]]
name = "big"
retriever = "colqwen"
model = "i2vec/MM-R5"
method = "reason"
gpu_gb = 24

[[row]]
name = "lost"
unavailable = "nobody has it"
"""


@pytest.fixture
def small(tmp_path):
    (tmp_path / "small.toml").write_text(SMALL)
    return tmp_path / "small.toml"


@pytest.fixture
def mmdocir(tmp_path):
    return evaluation_set(tmp_path / "set")


@pytest.fixture(autouse=True)
def no_hub(monkeypatch):
    monkeypatch.setattr(table_run, "hub_answers", lambda: False)


# --- the files -----------------------------------------------------------------------------------------------------------------


def test_the_shipped_tables_hold_the_papers_rows_and_numbers():
    assert set(shipped()) == {"paper-table1", "paper-table2"}
    first, second = load_table("paper-table1"), load_table("paper-table2")
    published = {row.name: (row.macro, row.micro) for row in first.rows if row.macro}
    assert list(published) == [
        "CLIP", "E5-V", "DSE", "GME", "ColQwen", "RagVL", "Qwen2.5-VL-7B", "Qwen2.5-VL-7B-cot", "Qwen2.5-VL-32B", "Qwen2.5-VL-32B-cot",
        "Gemma3-12B", "Gemma3-12B-cot", "SFT-only", "RL-only", "MM-R5",
    ]  # fmt: skip
    assert published["MM-R5"] == ((0.6951, 0.8520, 0.8842), (0.6759, 0.8401, 0.8755))
    assert published["Qwen2.5-VL-32B-cot"][1] == (0.6609, 0.8448, 0.8800)
    assert all(list(values) == sorted(values) for pair in published.values() for values in pair), "recall grows with its cut"
    others = {row.name: row.macro[0] for row in second.rows if row.macro and row.model != "none"}
    assert others == {
        "CLIP + MM-R5": 0.5942,
        "E5-V + MM-R5": 0.6236,
        "DSE + MM-R5": 0.6487,
        "GME + MM-R5": 0.6612,
        "ColQwen + MM-R5": 0.6951,
    }
    alone = {row.name: (row.macro, row.micro) for row in second.rows if row.macro and row.model == "none"}
    assert alone == {name: published[name] for name in ("CLIP", "E5-V", "DSE", "GME", "ColQwen")}
    methods = {(row.model, row.method) for row in first.rows}
    for name in (
        "Qwen/Qwen2.5-VL-7B-Instruct",
        "Qwen/Qwen2.5-VL-32B-Instruct",
        "google/gemma-3-12b-it",
        "Qwen/Qwen3-VL-8B-Instruct",
    ):
        assert {(name, "direct"), (name, "reason")} <= methods
    for table in (first, second):
        assert {(r, m) for r in ("bm25", "dense", "hybrid") for m in ("none", "mini")} <= {
            (row.retriever, row.model) for row in table.rows
        }
        assert (table.corpus, table.candidates) == ("mmdocir", 10)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace('name = "words"', 'naem = "words"'), "naem"),
        (lambda text: text.replace('"bm25"', '"psychic"', 1), "psychic"),
        (lambda text: text.replace('"words + dice"', '"Words"'), "two rows of the table are called 'words'"),
        (lambda text: text.replace("[0.5, 0.6, 0.7]", "[0.5, 0.6]"), "Recall@1, 3 and 5"),
        (lambda text: text.replace('title = "Small"', ""), "title"),
        (lambda text: text.partition("[[row]]")[0], "no rows"),
        (lambda text: text + "]", "no TOML"),
    ],
)
def test_a_broken_table_is_refused(small, change, message):
    small.write_text(change(SMALL))
    with pytest.raises(ConfigError, match=message):
        load_table(small)


def test_a_table_that_is_not_there_is_named_with_those_that_are(tmp_path):
    with pytest.raises(SourceNotFoundError, match="paper-table1, paper-table2, or a TOML file"):
        load_table(tmp_path / "none.toml")


def test_rows_by_name_and_checkpoints_in_place_of_others(small):
    table = load_table(small)
    assert [row.name for row in table.only(["WORDS", "words-dice"])] == ["words", "words + dice"]
    assert table.only([]) == table.rows
    with pytest.raises(ConfigError, match=r"no row 'wrods'; its rows are words, words \+ oracle"):
        table.only(["wrods"])
    other = table.using({"colqwen": "/models/cq", "i2vec/MM-R5": "/models/r5"}).rows[3]
    assert (other.retriever, other.model, other.name) == ("colqwen:/models/cq", "/models/r5", "big")
    with pytest.raises(ConfigError, match=r"no row asks for 'clip'; the table's checkpoints are colqwen, i2vec/MM-R5"):
        table.using({"clip": "/x"})
    assert slug("Qwen2.5-VL-7B (text) + x") == "qwen2.5-vl-7b-text-x"


# --- measuring -----------------------------------------------------------------------------------------------------------------


def test_a_table_is_measured_once_and_shown_beside_what_was_published(small, mmdocir, tmp_path, monkeypatch):
    corpus, out, seen = load_corpus(mmdocir), tmp_path / "out", []

    def counted(setup, *rest, **named):
        seen.append((setup.retriever, setup.model))
        return evaluate(setup, *rest, **named)

    monkeypatch.setattr(table_run, "evaluate", counted)
    found = run_table(load_table(small), corpus, out, command="mmr5 table small")
    assert [(row["name"], row["status"]) for row in found["rows"]] == [
        ("words", "done"), ("words + oracle", "done"), ("words + dice", "done"), ("big", "not measured"), ("lost", "not measured"),
    ]  # fmt: skip
    assert seen[:2] == [("bm25", "none")] * 2
    assert set(seen) == {("bm25", "none"), ("bm25", "oracle"), ("bm25", "random")}
    assert found["rows"][3]["reason"] == "needs a GPU with 24 GB, and there is none"
    assert found["rows"][4]["reason"] == "nobody has it"
    assert json.loads((out / "table.json").read_text()) == found
    direct = evaluate(EvaluationSettings("mmdocir", retriever="bm25", model="random", candidates=3), corpus, tmp_path / "direct")
    kept = found["rows"][2]["scores"]
    assert {key: direct[key] for key in ("retriever", "reranked", "delta", "ci95")} == {
        key: kept[key] for key in ("retriever", "reranked", "delta", "ci95")
    }
    assert found["rows"][1]["scores"]["reranked"]["micro"]["recall@1"] == pytest.approx(0.875)
    text = (out / "table.md").read_text()
    assert text == table_markdown(found)
    assert "Measured on mmdocir: 4 questions on 2 documents; 3 candidates" in text
    assert "| words | bm25 |" in text
    assert "| .5000 .6000 .7000 |" in text
    assert "not comparable" not in text
    assert "1. needs a GPU with 24 GB, and there is none\n2. nobody has it\n" in text
    seen.clear()
    assert run_table(load_table(small), corpus, out, command="mmr5 table small") == found
    assert seen == [], "what is done is not done again"


def test_a_table_goes_on_after_a_kill(small, mmdocir, tmp_path, monkeypatch):
    corpus, out = load_corpus(mmdocir), tmp_path / "out"

    def killed(setup, *rest, **named):
        if setup.model == "random":
            raise KeyboardInterrupt
        return evaluate(setup, *rest, **named)

    monkeypatch.setattr(table_run, "evaluate", killed)
    with pytest.raises(KeyboardInterrupt):
        run_table(load_table(small), corpus, out)
    held = json.loads((out / "table.json").read_text())
    assert [row["status"] for row in held["rows"][:3]] == ["done", "done", "not measured"]
    seen = []
    monkeypatch.setattr(
        table_run, "evaluate", lambda setup, *rest, **named: seen.append(setup.model) or evaluate(setup, *rest, **named)
    )
    found = run_table(load_table(small), corpus, out)
    assert set(seen) == {"none", "random"}
    assert found["rows"][2]["status"] == "done"


def test_some_rows_only_then_the_others_and_never_with_other_settings(small, mmdocir, tmp_path):
    corpus, out = load_corpus(mmdocir), tmp_path / "out"
    found = run_table(load_table(small), corpus, out, only=["words + dice"], how=TableSettings(limit=3))
    assert [row["status"] for row in found["rows"]] == ["not measured", "not measured", "done", "not measured", "not measured"]
    assert found["rows"][0]["reason"] == "not asked for yet"
    assert found["rows"][2]["scores"]["n_questions"] == found["n_questions"] == 3
    assert "the first 3 questions only" in (out / "table.md").read_text()
    found = run_table(load_table(small), corpus, out, only=["words"], how=TableSettings(limit=3))
    assert [row["status"] for row in found["rows"][:3]] == ["done", "not measured", "done"]
    with pytest.raises(ConfigError, match=r"'words' in .* was measured with other settings \(limit\)"):
        run_table(load_table(small), corpus, out)


def test_another_corpus_is_no_comparison(small, mmdocir, tmp_path):
    found = run_table(load_table(small), load_corpus(mmdocir), tmp_path / "out", only=["words"], name="opendocs")
    assert "**The published numbers are for mmdocir: they are not comparable" in (tmp_path / "out" / "table.md").read_text()
    assert (found["corpus"], found["published_for"]) == ("opendocs", "mmdocir")


def test_a_row_that_fails_is_told_and_the_others_go_on(mmdocir, tmp_path):
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "config.json").write_text("{}")
    table = Table(
        "T", (Row("bad", "bm25", str(broken), engine="cross-encoder"), Row("stage", f"image:{broken}"), Row("good", "bm25"))
    )
    found = run_table(table, load_corpus(mmdocir), tmp_path / "out")
    assert [row["status"] for row in found["rows"]] == ["failed", "failed", "done"]
    assert "cannot be loaded as a CrossEncoder" in found["rows"][0]["reason"]
    assert "cannot be loaded as a SentenceTransformer" in found["rows"][1]["reason"]


@pytest.mark.parametrize(
    ("row", "how", "gpu", "hub", "reason"),
    [
        (Row("a", "bm25"), TableSettings(), 0, False, ""),
        (Row("a", "bm25", "mini"), TableSettings(), 0, False, ""),
        (Row("a", "bm25", unavailable="gone"), TableSettings(anywhere=True), 80, True, "gone"),
        (Row("a", "bm25", "a/b", gpu_gb=24), TableSettings(), 0, True, "needs a GPU with 24 GB, and there is none"),
        (Row("a", "bm25", "a/b", gpu_gb=24), TableSettings(), 16, True, "needs a GPU with 24 GB, and its GPU has 16 GB"),
        (Row("a", "bm25", "a/b", gpu_gb=24), TableSettings(), 80, True, ""),
        (Row("a", "bm25", "a/b", gpu_gb=24), TableSettings(anywhere=True), 0, True, ""),
        (Row("a", "bm25", "a/b"), TableSettings(), 0, False, "the weights a/b are not on this machine, and the hub cannot be reached"),
        (Row("a", "clip"), TableSettings(), 0, False, f"the weights {NAMED['clip'].checkpoint} are not on this machine, and the hub cannot be reached"),
        (Row("a", "bm25", "a/b", method="reason", gpu_gb=24), TableSettings(base_url="http://x/v1"), 0, False, ""),
        (Row("a", "bm25", "a/b", engine="cross-encoder", gpu_gb=24), TableSettings(base_url="http://x/v1"), 0, True, "needs a GPU with 24 GB, and there is none"),
    ],
)  # fmt: skip
def test_why_a_row_cannot_be_measured(row, how, gpu, hub, reason, monkeypatch):
    monkeypatch.setattr(table_run, "gpu_memory", lambda: gpu)
    monkeypatch.setattr(table_run, "hub_answers", lambda: hub)
    assert why_not(row, how) == reason


def test_the_command(small, mmdocir, tmp_path, capsys):
    out = tmp_path / "out"
    assert code("table", small, "--corpus", mmdocir, "--only", "words", "--page-text", "vlm", "--out", out, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["rows"][0]["status"] == "done"
    facts = json.loads((out / "rows" / "words" / "provenance.json").read_text())
    assert facts["config"]["page_text"] == "vlm"
    assert (out / "rows" / "words" / "report.html").is_file()
    assert code("table", small, "--corpus", mmdocir, "--only", "words", "--page-text", "vlm", "--out", out) == 0
    assert capsys.readouterr().out == (out / "table.md").read_text()
    for wrong in (("--only", "wrods"), ("--use", "colqwen"), ("--use", "x=y")):
        assert code("table", small, "--corpus", mmdocir, "--out", out, *wrong) == 2
    assert code("table", small, "--corpus", tmp_path / "nowhere", "--out", out) == 1


def test_texts_of_mmdocirs_pages_are_chosen_by_a_flag(mmdocir):
    assert load_corpus(mmdocir).document_pages("port")[1].text == "Opening hours: nine to six."
    assert load_corpus(mmdocir, page_text="vlm").document_pages("port")[1].text == "A page: Opening hours: nine to six."
    with pytest.raises(ConfigError, match="one text a page"):
        load_corpus("opendocs", page_text="vlm")


def code(*arguments):
    with pytest.raises(SystemExit) as stop:
        main([str(a) for a in arguments])
    return stop.value.code


# --- every row, on tiny checkpoints --------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_every_row_of_both_tables_runs_on_tiny_checkpoints(mmdocir, tmp_path, capsys):
    """About 60 s. All but the three rows that nobody can run; the second run measures nothing."""
    root = tmp_path / "tiny"
    vision, text = tiny.vision_model(root / "vision"), tiny.text_model(root / "text")
    made = {
        "clip": encoders.clip(root / "clip"), "e5-v": encoders.llava_next(root / "e5v"), "dse": vision, "gme": vision,
        "colqwen": encoders.colqwen2(root / "colqwen2"), "mini": text, "BAAI/bge-reranker-v2-m3": encoders.cross_encoder(root / "bge"),
    }  # fmt: skip
    pairs, mono = encoders.vision_cross_encoder(root / "pairs"), tiny.vision_model(root / "MonoQwen2-VL")
    for name in ("paper-table1", "paper-table2"):
        table = load_table(name)
        others = {m: vision for row in table.rows for m in row.checkpoints if m not in made}
        others |= {
            m: mono if "Mono" in m else pairs
            for row in table.rows
            for m in row.checkpoints
            if row.engine == "cross-encoder" and m not in made
        }
        asked = {m for row in table.rows for m in row.checkpoints}
        swaps = [f"{m}={path}" for m, path in (made | others).items() if m in asked]
        command = [
            "table",
            name,
            "--corpus",
            mmdocir,
            "--anywhere",
            "--max-new-tokens",
            4,
            "--device",
            "cpu",
            "--dtype",
            "float32",
            "--out",
            tmp_path / name,
            "--json",
        ]
        command += [word for swap in swaps for word in ("--use", swap)]
        assert code(*command) == 0
        found = json.loads(capsys.readouterr().out)
        missed = {row["name"]: row["reason"] for row in found["rows"] if row["status"] != "done"}
        assert set(missed) == ({"RagVL", "SFT-only", "RL-only"} if name == "paper-table1" else set()), missed
        for row in found["rows"]:
            if row["scores"] is not None:
                assert row["scores"]["n_questions"] == 4
                assert 0 <= row["scores"]["reranked"]["macro"]["recall@1"] <= 0.2, "eight of the ten domains hold nothing"
        marks = {path: path.stat().st_mtime_ns for path in (tmp_path / name).rglob("run.jsonl")}
        assert len(marks) > 10
        assert code(*command) == 0
        assert json.loads(capsys.readouterr().out)["rows"] == found["rows"]
        assert {path: path.stat().st_mtime_ns for path in marks} == marks
    assert tomllib.loads(shipped()["paper-table1"].read_text())["corpus"] == "mmdocir"
