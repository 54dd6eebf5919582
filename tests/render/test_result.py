import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from mmr5.errors import OutputError
from mmr5.render.result import result_html, results_html, write_html
from mmr5.types import EvidencePassage, Issue, Problem

HOSTILE = "</title></style><script>alert(1)</script>\"' onerror=alert(2) <img src=x>"


class Elements(HTMLParser):
    def __init__(self, html):
        super().__init__()
        self.found = []
        self.words = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.words.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.found if name == tag]

    def text(self):
        return " ".join(" ".join(self.words).split())


def test_it_shows_question_settings_and_every_ranked_page(result, pages):
    page = Elements(result_html(result, pages))
    said = page.text()
    for words in (
        "What are the fees?",
        "mini",
        "reason",
        "hybrid",
        "a.pdf, page 1",
        "notes.txt, page 1",
        "It lists the fees.",
        "fused score 0.930",
    ):
        assert words in said
    assert "2.9 s" in said
    assert "reading 12 ms" in said
    assert "model 2911 ms" in said
    assert len(page.all("li")) == 4 + 1 + 2


def test_movement_is_in_words_and_places_and_absent_without_a_first_stage(result, pages):
    html = result_html(result, pages)
    said = Elements(html).text()
    assert "up 2 3 → 1" in said
    assert "down 2 1 → 3" in said
    assert "same" in said
    assert html.count('class="moved ') == 3


def test_evidence_is_marked_and_its_absence_explained(result, pages):
    html = result_html(result, pages)
    assert "<mark>fees</mark> are 48 crowns." in html
    assert "about <mark>fees</mark>." in html
    assert "This page has no text to quote." in html
    assert "Nobody has read this page&#39;s text" in html


def test_problems_issues_and_the_reply_are_told(result, pages):
    said = Elements(result_html(result, pages)).text()
    assert "scan/cut.png: it is cut off" in said
    assert "The model named a page twice" in said
    assert "DUPLICATE" not in said
    assert "<answer>[1, 1]</answer>" in said
    clean = Elements(result_html(replace(result, problems=(), issues=(), reply=None, reasoning=None), pages)).text()
    assert "Passed over" not in clean
    assert "Please note" not in clean
    assert "All that the model wrote" not in clean


def test_nothing_from_outside_can_become_markup(result, pages):
    line = replace(result[0], source=HOSTILE, reason=HOSTILE, evidence=HOSTILE + " fees")
    bad = replace(
        result,
        query=HOSTILE,
        model=HOSTILE,
        method=HOSTILE,
        retriever=HOSTILE,
        ranking=(line, replace(result[3], source=HOSTILE)),
        reasoning=HOSTILE,
        reply=HOSTILE,
        problems=(Problem(HOSTILE, 1, HOSTILE),),
        timings_ms={HOSTILE: 5.0},
    )
    hostile_pages = [replace(page, source=HOSTILE, text=HOSTILE) for page in pages]
    good = Elements(result_html(replace(result, ranking=(result[0], result[3])), pages))
    page = Elements(result_html(bad, hostile_pages))
    assert len(page.all("script")) == len(good.all("script")) == 1
    assert len(page.all("style")) == len(good.all("style")) == 1
    assert len(page.all("img")) == len(good.all("img"))
    assert not any("onerror" in attributes for _, attributes in page.found)


def test_it_needs_no_network_and_no_script_for_its_pictures(result, pages):
    html = result_html(result, pages)
    page = Elements(html)
    loaded = [a[name] for _, a in page.found for name in ("src", "href") if name in a]
    assert len(loaded) == 4
    assert all(value.startswith("data:image/") for value in loaded)
    assert "@import" not in html
    assert "url(" not in html
    assert "http" not in re.sub(r"data:image/[^\"]+", "", html).replace("http-equiv", "")
    assert not page.all("link")
    policy = next(a["content"] for a in page.all("meta") if a.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy and "img-src data:" in policy and "http" not in policy


def test_it_is_usable_by_keyboard_and_screen_reader(result, pages):
    page = Elements(result_html(result, pages))
    assert page.all("html")[0]["lang"] == "en"
    assert all("alt" in image for image in page.all("img"))
    buttons = [a for a in page.all("button") if "data-page" in a]
    assert [b["aria-label"] for b in buttons][:1] == ["Enlarge page 1 of a.pdf"]
    assert len(page.all("h1")) == 1
    assert len(page.all("h2")) == 4 + 1  # the dialog


def test_a_picture_that_several_questions_share_is_embedded_once(result, pages):
    html = results_html([result, replace(result, query="Another?")], pages)
    assert html.count("data:image/") == 4
    assert html.count('data-thumb="0"') == 1
    assert "Another?" in html


def test_equal_file_names_keep_their_folders(result, pages):
    ranking = (replace(result[0], source="x/a.pdf"), replace(result[1], source="y/a.pdf"))
    said = Elements(result_html(replace(result, ranking=ranking), pages)).text()
    assert "x/a.pdf, page 1" in said
    assert "y/a.pdf, page 2" in said


def test_an_empty_result_and_every_issue_render(result, pages):
    said = Elements(result_html(replace(result, ranking=(), issues=tuple(Issue)), pages)).text()
    assert "cut off at its token limit" in said


def test_dark_colours_are_for_screens_only(result, pages):
    html = result_html(result, pages)
    assert "@media screen and (prefers-color-scheme: dark)" in html
    assert "@media (prefers-color-scheme" not in html


def test_write_replaces_whole_and_bears_lone_surrogates(tmp_path):
    target = tmp_path / "r.html"
    target.write_text("old")
    write_html(target, "new \udc80 é")
    assert target.read_text(encoding="utf-8") == "new ? é"
    assert [p.name for p in tmp_path.iterdir()] == ["r.html"]


@pytest.mark.parametrize("make", [lambda folder: folder / "no" / "r.html", lambda folder: folder])
def test_an_unwritable_path_says_why_and_leaves_nothing_behind(tmp_path, make):
    folder = tmp_path / "here"
    folder.mkdir()
    with pytest.raises(OutputError, match=r"cannot write .*Name a file in a folder that exists"):
        write_html(make(folder), "x")
    assert [p.name for p in tmp_path.rglob("*")] == ["here"]


def test_the_web_page_says_of_issues_what_everything_says():
    import re
    from importlib import resources

    from mmr5.render.labels import ISSUES

    script = (resources.files("mmr5.server") / "static" / "main.js").read_text(encoding="utf-8")
    block = script.split("const ISSUES = {", 1)[1].split("};", 1)[0]
    assert dict(re.findall(r'(\w+): "([^"]+)"', block)) == {issue.value: words for issue, words in ISSUES.items()}
    assert set(ISSUES) == set(Issue)


class Places:
    """Each word on a line of its own."""

    def of(self, start, end):
        return self.each([(start, end)])[0]

    def each(self, spans):
        return [[(0.1, 0.1 + start / 1000, 0.3, 0.12 + start / 1000)] for start, _ in spans]


def test_the_evidence_is_marked_on_the_picture_and_words_can_be_selected(result, pages):
    shown = (EvidencePassage("Berthing fees are 48 crowns.", ((0.1, 0.2, 0.5, 0.25), (0.1, 0.3, 0.2, 0.35))),)
    found = replace(result, ranking=(replace(result[0], evidence_passages=shown), *result.ranking[1:]))
    page = Elements(result_html(found, [replace(pages[0], boxes=Places()), *pages[1:]]))
    marks = page.all("rect")
    assert [(m["x"], m["y"], m["width"], m["height"]) for m in marks] == [("96", "196", "408", "58"), ("96", "296", "108", "58")]
    words = page.all("tspan")
    assert len(words) == 5
    assert words[0] == {"x": "100", "y": "116", "font-size": "20", "textlength": "200", "lengthadjust": "spacingAndGlyphs"}
    assert [a["data-words"] for a in page.all("template")] == ["0"]
    assert "Berthing fees are 48 crowns." in page.text()


def test_words_of_a_page_are_inert(result, pages):
    hostile = replace(pages[0], text="</template><script>alert(1)</script>", boxes=Places())
    page = Elements(result_html(result, [hostile, *pages[1:]]))
    assert len(page.all("script")) == 1
    assert len(page.all("template")) == 1


def test_pages_of_a_pdf_link_into_it(result, pages, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.pdf").write_bytes(b"%PDF-1.4")
    (tmp_path / "out").mkdir()
    links = [a["href"] for a in Elements(result_html(result, pages, folder=tmp_path / "out")).all("a")]
    assert links == ["../docs/a.pdf#page=1", "../docs/a.pdf#page=2", "../docs/a.pdf#page=3"]
    assert not Elements(result_html(result, pages)).all("a")


def test_a_result_shows_itself_in_a_notebook(result, pages):
    marked = (EvidencePassage("Berthing fees are 48 crowns.", ((0.1, 0.2, 0.5, 0.25),)),)
    ranking = (replace(result[0], evidence_passages=marked, relevance=0.93), *result.ranking[1:])
    html = replace(result, ranking=ranking, pages=tuple(pages))._repr_html_()
    page = Elements(html)
    assert len(page.all("img")) == 4
    assert len(page.all("rect")) == 1
    assert not page.all("script")
    assert "1. docs/a.pdf, page 1 · 93 %" in page.text()
    assert "<mark>fees</mark>" in html
    assert Elements(replace(result, query=HOSTILE, pages=tuple(pages))._repr_html_()).all("script") == []
    assert not Elements(result._repr_html_()).all("img")  # read back, without its pages
    assert "No page." in replace(result, ranking=())._repr_html_()


def test_results_and_pages_are_short(result, pages):
    assert repr(pages[0]) == "Page('docs/a.pdf', 1: 28 characters, 'Berthing fees are 48 crowns.'…)"
    assert repr(pages[2]) == "Page('docs/a.pdf', 3: no text yet)"
    said = repr(replace(result, ranking=(replace(result[0], relevance=0.93), *result.ranking[1:])))
    assert said == (
        "RerankResult('What are the fees?': docs/a.pdf p. 1 (93 %), docs/a.pdf p. 2 (0.50), docs/a.pdf p. 3 (0.40), … 1 more; "
        "4 pages read, mini, reason)"
    )
    assert "no page" in repr(replace(result, ranking=()))
