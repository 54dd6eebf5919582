import json
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

REPORT = Path(__file__).parents[2] / "examples" / "harbour-report.pdf"


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "scans"
    folder.mkdir()
    for name in ("page2.png", "page10.png", "page1.jpg"):
        image = Image.new("RGB", (200, 100), "white")
        ImageDraw.Draw(image).text((10, 40), name, fill="black")
        image.save(folder / name)
    return folder


def dry(*rest):
    return ("--engine", "scripted", "--retriever", "bm25", "--ocr", "never", *rest)


def test_rerank_json_is_the_promised_object(run):
    code, out, err = run(
        "rerank", "What are the berthing fees?", REPORT, *dry("--method", "likelihood", "--view", "text", "--json")
    )
    assert code == 0
    found = json.loads(out)
    assert found["n_pages"] == 12
    assert found["retriever"] == "bm25"
    assert found["method"] == "likelihood"
    assert [line["rank"] for line in found["ranking"]] == list(range(1, 11))
    assert found["ranking"][0]["page"] == 8
    assert found["ranking"][0]["index"] == 7
    assert found["ranking"][0]["source"].endswith("harbour-report.pdf")
    assert "reading" in err
    scores = [line["score"] for line in found["ranking"]]
    assert scores == sorted(scores, reverse=True)


def test_the_table_goes_to_stdout_and_the_reasoning_to_stderr(run):
    code, out, err = run("rerank", "berthing fees", REPORT, *dry("--method", "reason", "--view", "text", "--top-n", 2))
    assert code == 0
    assert "berthing fees" in out
    assert "scripted engine does not look" in err
    assert "reasoning:" in err
    assert "reasoning:" not in out


def test_the_table_names_documents_where_more_than_one_was_given(run, tmp_path):
    (tmp_path / "cut.png").write_bytes(b"\x89PNG")
    options = dry("--method", "likelihood", "--view", "text", "--top-n", 1)
    for other in (tmp_path / "cut.png", REPORT.parent / "README.md"):
        _, out, _ = run("rerank", "berthing fees", REPORT, other, *options)
        assert "harbour-report.pdf" in "".join(out.split())
    _, out, _ = run("rerank", "berthing fees", REPORT, *options)
    assert "harbour-report" not in out


def test_the_command_equals_the_library(run):
    from mmr5 import Reranker, Searcher, read_pages

    _, out, _ = run("rerank", "How many seals?", REPORT, *dry("--method", "likelihood", "--view", "text", "--json"))
    reranker = Reranker.from_pretrained(engine="scripted", method="likelihood", view="text")
    result = Searcher(reranker, "bm25").search("How many seals?", read_pages(str(REPORT), ocr="never"))
    ours, theirs = result.to_dict(), json.loads(out)
    assert ours["ranking"] == theirs["ranking"]


def test_images_folders_and_mixtures_keep_source_order(run, pictures):
    code, out, _ = run(
        "rerank", "q", pictures, REPORT, *dry("--retriever", "none", "--method", "reason", "--view", "image", "--json")
    )
    assert code == 0
    found = json.loads(out)
    assert found["n_pages"] == 15
    assert [line["source"] for line in sorted(found["ranking"], key=lambda x: x["index"])][:3] == [
        "page1.jpg",
        "page2.png",
        "page10.png",
    ]
    assert len(found["ranking"]) == 15


def test_html_opens_without_a_network(run, tmp_path):
    code, _, err = run(
        "rerank",
        "berthing <script>alert(1)</script> fees",
        REPORT,
        *dry("--method", "likelihood", "--view", "text"),
        "--html",
        tmp_path / "r.html",
    )
    assert code == 0
    assert "wrote" in err
    text = (tmp_path / "r.html").read_text()
    assert "<script>alert" not in text
    assert "data:image/jpeg;base64," in text
    assert "http://" not in text.replace("http://www.w3.org", "")
    assert "https://" not in text


def test_html_is_written_through_links_and_into_devices_which_stay_what_they_are(run, tmp_path):
    said = ("rerank", "fees", REPORT, *dry("--method", "likelihood", "--view", "text", "--json"), "--html")
    (tmp_path / "link.html").symlink_to("real.html")
    assert run(*said, tmp_path / "link.html")[0] == 0
    assert (tmp_path / "link.html").is_symlink()
    assert "<html" in (tmp_path / "real.html").read_text()
    code, out, err = run(*said, "/dev/full")
    assert (code, json.loads(out)["n_pages"]) == (1, 12)
    assert "the disk is full" in err
    assert "folder that you may write to" not in err
    assert stat.S_ISCHR(Path("/dev/full").stat().st_mode)


def test_an_unwritable_html_fails_but_the_result_is_printed(run, tmp_path):
    code, out, err = run(
        "rerank", "fees", REPORT, *dry("--method", "likelihood", "--view", "text", "--json"), "--html", tmp_path / "no" / "r.html"
    )
    assert code == 1
    assert json.loads(out)["n_pages"] == 12
    assert "cannot write" in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("rerank", "", REPORT), 1, "question is empty"),
        (("rerank", "q"), 2, "sources"),
        (("rerank", "q", "nowhere.pdf"), 1, "nowhere.pdf"),
        (("rerank", "q", REPORT, "--model", "no-such-model"), 1, "no model 'no-such-model'"),
        (("rerank", "q", REPORT, "--retriever", "psychic"), 2, "psychic"),
        (("rerank", "q", REPORT, "--method", "guess"), 2, "guess"),
        (("rerank", "q", REPORT, "--candidates", "0"), 2, "candidates"),
        (("rerank", "q", REPORT, "--engine", "openai"), 2, "--base-url"),
        (("rerank", "q", REPORT, "--nonsense"), 2, "nonsense"),
        (("rerank", "q", REPORT, "--view", "image"), 1, "view 'image'"),
        (("nonsense",), 2, "nonsense"),
    ],
)
def test_wrong_arguments_say_what_is_wrong_without_a_traceback(run, arguments, code, said, tiny_text):
    if "image" in arguments:
        arguments = (*arguments, "--model", str(tiny_text), "--device", "cpu")
    got, out, err = run(*arguments)
    assert got == code
    assert said.lower() in err.lower()
    assert "Traceback" not in err
    assert out == ""


def test_one_bad_page_among_good_ones_is_reported_and_strict_fails(run, pictures):
    (pictures / "notes.png").write_text("this is no picture")
    (pictures / "cut.png").write_bytes((pictures / "page2.png").read_bytes()[:60])
    options = dry("--retriever", "none", "--method", "reason", "--view", "image", "--json")
    code, out, err = run("rerank", "q", pictures, *options)
    found = json.loads(out)
    assert code == 0
    assert found["n_pages"] == 3
    assert {Path(p["source"]).name for p in found["problems"]} == {"cut.png", "notes.png"}
    assert "cut.png" in err
    code, out, err = run("rerank", "q", pictures, *options, "--strict")
    assert code == 1
    assert out == ""
    assert "Traceback" not in err


def test_debug_shows_the_traceback(run):
    _, _, err = run("rerank", "q", "nowhere.pdf", "--debug")
    assert "Traceback" in err


def test_prompt_shows_messages_with_placeholders(run):
    code, out, _ = run("prompt", "What are the fees?", REPORT, "--view", "image", "--json")
    messages = json.loads(out)
    assert code == 0
    assert [m["role"] for m in messages] == ["system", "user"]
    assert sum(part["type"] == "image" for part in messages[1]["content"]) == 12
    assert messages[1]["content"][1]["text"] == "\nImage 1: "
    code, out, _ = run("prompt", "What are the fees?", REPORT, "--view", "text", "--method", "direct", "--ocr", "never")
    assert code == 0
    assert "Page 8: PORT OF LINDHOLM" in out
    code, out, _ = run(
        "prompt", "What are the fees?", REPORT, "--view", "both", "--method", "pointwise", "--ocr", "never", "--json"
    )
    assert len(json.loads(out)) == 12


def test_doctor_says_the_most_in_ten_lines(run):
    lines = run("doctor")[1].splitlines()
    assert 8 <= len(lines) <= 12
    found = {line[:18].strip(): line[19:] for line in lines}
    assert found["machine"].startswith("Python 3.")
    assert found["packages"] == "all there"
    assert found["engine scripted"] == "reason, direct, logits, pointwise, likelihood"
    assert found["engine openai"] == "reason, direct (with --base-url; pictures with --base-url of a server whose model sees)"
    assert found["more"] == "mmr5 doctor --all"


def test_models_doctor_and_cache(run):
    code, out, _ = run("models", "--json")
    assert code == 0
    assert [row["name"] for row in json.loads(out)][0] == "mini"
    listed = run("models")[1]
    assert "i2vec/MM-R5" in listed
    assert "calibrations=['hybrid', 'none', 'hybrid+']" in listed
    code, out, _ = run("doctor", "--json")
    recognition = json.loads(out)["text recognition"]
    assert recognition["Latin, Chinese, Japanese"] == "RapidOCR"
    assert "rus" in recognition["Cyrillic"]
    assert recognition["Hebrew"].startswith("tesseract: heb") or "apt-get install" in recognition["Hebrew"]
    report = json.loads(out)
    assert code == 0
    assert len(report["can_run"]) == 1 + 4 * 5 * 3
    assert all(row["ok"] or row["why"] for row in report["can_run"])
    assert "can run" in run("doctor", "--all")[1]
    run("rerank", "fees", REPORT, *dry("--method", "likelihood", "--view", "text", "--json"))
    code, out, _ = run("cache", "--json")
    assert any(row["namespace"] == "text" for row in json.loads(out)["namespaces"])
    code, out, _ = run("cache", "clear")
    assert code == 0
    assert out.startswith("removed ")
    assert not [row for row in json.loads(run("cache", "--json")[1])["namespaces"] if row["evictable"] and row["entries"]]


def test_a_bug_shows_no_traceback(run, monkeypatch):
    import mmr5.pages

    monkeypatch.setattr(mmr5.pages, "read_pages", lambda *a, **k: 1 / 0)
    code, _, err = run("rerank", "q", REPORT)
    assert code == 1
    assert "internal error: ZeroDivisionError" in err
    assert "Traceback" not in err


def test_version_and_help(run):
    code, out, _ = run("--version")
    assert (code, out.split()[0]) == (0, "mmr5")
    code, out, _ = run("rerank", "--help")
    for flag in ("--model", "--method", "--view", "--retriever", "--candidates", "--top-n", "--fusion", "--samples", "--seed", "--think-tokens",
                 "--strict", "--json", "--html", "--debug", "--engine", "--base-url"):  # fmt: skip
        assert flag in out


def test_importing_is_light_and_fast():
    """`import mmr5` and `mmr5 --help` load no torch; the import takes less than 0.3 s (best of three)."""
    code = (
        "import time; t = time.perf_counter(); import mmr5; d = time.perf_counter() - t\n"
        "import sys; heavy = [m for m in ('torch', 'transformers', 'numpy', 'PIL', 'bm25s') if m in sys.modules]\n"
        "print(d, heavy)"
    )
    outs = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout for _ in range(3)]
    assert min(float(o.split()[0]) for o in outs) < 0.3
    assert outs[0].split(maxsplit=1)[1].strip() == "[]"
    code = (
        "import sys; from mmr5.cli.main import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        "print([m for m in ('torch', 'transformers', 'numpy', 'PIL') if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"
