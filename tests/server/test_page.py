"""The web page in a real Chromium. Budget: 400 s on two busy cores. Needs Debian's ``chromium``; without it these tests fail, they do not skip."""

import io
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from mmr5.engines.scripted import ScriptedEngine

pytestmark = pytest.mark.slow

WAIT_MS = 90_000
QUESTION = "What was the diver paid for bringing up the fog bell?"


@pytest.fixture(scope="module")
def browser():
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.fail("chromium is missing: install it with `make browser` (apt-get install chromium)", pytrace=False)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def open_page(browser) -> Iterator[Callable]:
    """Opens a page that may load from its own server only; at the end nothing was thrown and nothing was asked of others."""
    contexts, thrown, strangers = [], [], []

    def visit(url: str, **settings):
        contexts.append(browser.new_context(**{"viewport": {"width": 1180, "height": 860}, **settings}))
        page = contexts[-1].new_page()
        page.set_default_timeout(WAIT_MS)
        page.on("pageerror", lambda error: thrown.append(str(error)))
        page.on("console", lambda said: thrown.append(said.text) if "Content Security Policy" in said.text else None)
        page.on("request", lambda sent: None if sent.url.startswith((url, "blob:", "data:")) else strangers.append(sent.url))
        page.goto(url)
        return page

    yield visit
    for context in contexts:
        context.close()
    assert thrown == []
    assert strangers == []


def pdf(*texts: str) -> dict:
    """A PDF with one page a text, as an upload."""
    import pypdfium2 as pdfium
    import pypdfium2.raw as raw

    document = pdfium.PdfDocument.new()
    for text in texts:
        sheet = document.new_page(300, 400)
        font = raw.FPDFText_LoadStandardFont(document, b"Helvetica")
        words = raw.FPDFPageObj_CreateTextObj(document, font, 14)
        raw.FPDFText_SetText(words, (raw.FPDF_WCHAR * (len(text) + 1))(*[ord(c) for c in text], 0))
        raw.FPDFPageObj_Transform(words, 1, 0, 0, 1, 20, 340)
        raw.FPDFPage_InsertObject(sheet, words)
        sheet.gen_content()
    buffer = io.BytesIO()
    document.save(buffer)
    return {"name": "book.pdf", "mimeType": "application/pdf", "buffer": buffer.getvalue()}


BOOK = ("The harbour was dredged in 1931.", "A list of ships in the harbour.", "The dredged mud of the harbour was sold.")


def thinker(request) -> str:
    """A model that thinks aloud and turns the order round."""
    plain = "".join(part["text"] for m in request.messages for part in m["content"] if part["type"] == "text")
    n = int(re.search(r"id from 1 to (\d+)", plain)[1])
    notes = "".join(f"Image {i}: note number {i}.\n" for i in range(1, n + 1))
    return f"<think>{notes}</think><answer>{list(range(n, 0, -1))}</answer>"


def until(page, expression: str) -> None:
    """Wait until an expression holds; the page's own policy keeps Playwright from asking within the page."""
    end = time.monotonic() + WAIT_MS / 1000
    while not page.evaluate(expression):
        assert time.monotonic() < end, expression
        page.wait_for_timeout(50)


def upload(page, file=None) -> None:
    page.set_input_files("#file", [file or pdf(*BOOK)])
    page.get_by_text("3 pages", exact=True).wait_for()


def ask(page, question="When was the harbour dredged?") -> None:
    page.fill("#question", question)
    page.keyboard.press("Enter")
    page.wait_for_selector("body[data-state=result]")


def order(page) -> list[str]:
    return page.locator(".card h3").all_text_contents()


def test_a_document_is_sent_asked_about_and_its_pages_change_places(serve, open_page):
    page = open_page(serve(ScriptedEngine(thinker), method="reason").url)
    upload(page)
    page.evaluate(
        "() => { window.moves = 0; const was = Element.prototype.animate;"
        "Element.prototype.animate = function (...a) { if (this.matches('.card')) window.moves++; return was.apply(this, a); }; }"
    )
    ask(page)
    after = order(page)
    assert sorted(after) == ["Page 1", "Page 2", "Page 3"]
    assert page.locator("#headline").text_content() == f"{after[0]} comes first"
    assert page.locator("[name=order]:checked").get_attribute("value") == "after"
    assert page.locator(".rank").all_text_contents() == ["1", "2", "3"]
    assert page.locator(".reason").all_text_contents() == ["note number 3.", "note number 2.", "note number 1."]
    assert page.locator(".moved").all_text_contents() == ["▲ up 2", "stays", "▼ down 2"]
    assert page.locator("#thoughts p").all_text_contents() == [f"Image {i}: note number {i}." for i in (1, 2, 3)]
    first = page.locator(".card").first.locator(".figures").text_content()
    assert "before3" in first and "after1" in first and "1 / rank1" in first and "first-stage score" in first
    assert page.locator("mark").count() > 0
    assert page.evaluate("window.moves") == 2
    until(page, "[...document.querySelectorAll('.thumb img')].every((i) => i.complete && i.naturalWidth > 50)")
    page.get_by_text("Before", exact=True).click()
    assert order(page) == after[::-1]
    page.get_by_text("After", exact=True).click()
    assert order(page) == after


def test_scores_are_shown_with_their_kind(serve, open_page):
    page = open_page(serve(ScriptedEngine(), method="pointwise").url)
    upload(page)
    ask(page)
    figures = page.locator(".figures").all_text_contents()
    scores = [float(re.search(r"relevance([\d.]+?)first", text)[1]) for text in figures]
    assert scores == sorted(scores, reverse=True) and len(set(scores)) > 1
    assert page.locator("meter").count() == 3
    assert page.locator("#reasoning").is_hidden()


class Typist(ScriptedEngine):
    """Writes word by word, with a breath after each."""

    def generate(self, requests, sampling, on_text=None):
        def tell(position, piece):
            on_text(position, piece)
            time.sleep(0.12)

        return super().generate(requests, sampling, None if on_text is None else tell)


def test_the_reasoning_grows_while_it_is_written(serve, open_page):
    page = open_page(serve(Typist(thinker), method="reason").url, reduced_motion="reduce")
    upload(page)
    page.evaluate(
        "() => { window.seen = []; window.said = []; const at = (id) => document.getElementById(id);"
        "new MutationObserver(() => window.seen.push([at('thoughts').textContent.length, document.body.dataset.state]))"
        ".observe(at('thoughts'), { childList: true, subtree: true, characterData: true });"
        "new MutationObserver(() => window.said.push(at('said').textContent)).observe(at('said'), { childList: true }); }"
    )
    ask(page)
    whole = page.locator("#thoughts").text_content()
    lengths = [length for length, state in page.evaluate("window.seen") if state == "busy" and length]
    assert lengths == sorted(lengths) and len(set(lengths)) > 3 and lengths[-1] == len(whole)
    assert page.locator("#thoughts p").all_text_contents() == [f"Image {i}: note number {i}." for i in (1, 2, 3)]
    assert page.evaluate("window.said").count("The model thinks aloud.") == 1
    assert page.locator("#thoughts[aria-live]").count() == 0 and page.locator("#thoughts[aria-busy]").count() == 0
    assert len(order(page)) == 3


def annotator(request) -> str:
    """A model whose notes on the first and the last page are their own words; its other notes speak of something else."""
    page = "".join(part["text"] for part in request.messages[-1]["content"] if part["type"] == "text").partition("Question:")[0]
    words = next((text for text in (BOOK[0], BOOK[2]) if text in page), "Whales sing at night.")
    return f" {words}\n"


def test_the_notes_grow_on_their_pages_while_they_are_written(serve, open_page):
    page = open_page(serve(Typist(annotator), method="pointwise").url, reduced_motion="reduce")
    upload(page)
    page.evaluate(
        "() => { window.seen = []; window.said = []; const at = (id) => document.getElementById(id);"
        "const look = () => { if (document.body.dataset.state !== 'busy') return; for (const c of document.querySelectorAll('.card'))"
        " window.seen.push([c.dataset.index, c.className, c.querySelector('.reason').textContent,"
        " c.querySelector('.reason').getAttribute('aria-busy')]); };"
        "new MutationObserver(look).observe(at('pages'), { childList: true, subtree: true, characterData: true });"
        "new MutationObserver(() => window.said.push(at('said').textContent)).observe(at('said'), { childList: true }); }"
    )
    ask(page)
    seen = page.evaluate("window.seen")
    for index, whole in (("0", BOOK[0]), ("1", "Whales sing at night."), ("2", BOOK[2])):
        grown = [said for at, kind, said, busy in seen if at == index and "writing" in kind and busy == "true"]
        assert len(set(grown)) > 2 and sorted(grown, key=len) == grown
        assert all(whole.startswith(said) for said in grown) and grown[-1] == whole
    waiting = {said for _, kind, said, _ in seen if "waiting" in kind}
    assert waiting == {"waiting for the model"}
    notes = dict(zip(order(page), page.locator(".reason").all_text_contents(), strict=True))
    assert notes == {"Page 1": BOOK[0], "Page 2": "", "Page 3": BOOK[2]}  # the page does not bear out what was said of it
    assert page.locator(".reason").nth(order(page).index("Page 2")).is_hidden()
    assert page.evaluate("window.said").count("The model writes about the pages.") == 1
    assert page.locator(".writing, .reason[aria-busy], .pages[aria-live]").count() == 0
    assert page.locator("#reasoning").is_hidden()


def test_progress_is_told_while_the_model_thinks(serve, open_page):
    think = threading.Event()

    def slow(request) -> str:
        assert think.wait(30)
        return thinker(request)

    page = open_page(serve(ScriptedEngine(slow), method="reason").url)
    try:
        upload(page)
        page.fill("#question", "harbour")
        page.click("#go")
        page.wait_for_selector("[data-stage=ranking][aria-current=step]")
        assert page.locator("[data-stage=ranking] small").text_content() == "3 pages"
        assert page.locator(".card.waiting").count() == 3
        assert page.locator("[name=order]:checked").get_attribute("value") == "before"
        assert page.locator("#go").text_content() == "Stop"
        page.keyboard.press("Escape")
        page.wait_for_selector("#progress", state="hidden")
        assert page.locator("#go").text_content() == "Ask"
        assert page.locator("#error").is_hidden()
    finally:
        think.set()


def test_the_example_comes_with_questions(serve, open_page):
    page = open_page(serve(ScriptedEngine(thinker), method="reason").url)
    page.click("#example")
    page.get_by_text("12 pages", exact=True).wait_for()
    page.get_by_role("button", name=QUESTION).click()
    page.wait_for_selector("body[data-state=result]")
    assert page.locator("#question").input_value() == QUESTION
    assert page.locator(".card").count() == 10
    assert "12 pages read" in page.locator("#facts").text_content()


def test_a_dropped_file_is_taken(serve, open_page):
    page = open_page(serve().url)
    data = page.evaluate_handle(
        "(bytes) => { const d = new DataTransfer();"
        "d.items.add(new File([new Uint8Array(bytes)], 'dropped.pdf', { type: 'application/pdf' })); return d; }",
        list(pdf(*BOOK)["buffer"]),
    )
    page.dispatch_event("#drop", "drop", {"dataTransfer": data})
    page.get_by_text("3 pages", exact=True).wait_for()
    assert page.locator("#documents b").text_content() == "dropped.pdf"
    page.get_by_role("button", name="Remove dropped.pdf").click()
    assert page.locator("#documents li").count() == 0


def test_errors_say_what_happened_and_the_page_goes_on(serve, open_page):
    page = open_page(serve(max_query_chars=50).url)
    page.fill("#question", "harbour")
    page.keyboard.press("Enter")
    error = page.locator("#error")
    error.wait_for()
    assert "There is no document yet" in error.text_content()
    page.set_input_files("#file", [{"name": "bad.pdf", "mimeType": "application/pdf", "buffer": b"%PDF-1.4 broken"}])
    page.get_by_text("bad.pdf could not be taken").wait_for()
    assert page.locator("#documents li").count() == 0
    upload(page)
    page.fill("#question", "harbour " * 20)
    page.keyboard.press("Enter")
    until(page, "document.getElementById('error').textContent.includes('50')")
    ask(page)
    assert error.is_hidden()


def test_a_failing_model_and_a_stopped_server_are_told(serve, open_page):
    live = serve(ScriptedEngine([]), method="reason")
    page = open_page(live.url)
    upload(page)
    page.fill("#question", "harbour")
    page.keyboard.press("Enter")
    page.get_by_text("the model's backend failed").wait_for()
    live.stop()
    page.keyboard.press("Enter")
    page.get_by_text("Is it still running?").wait_for()


def test_a_forgotten_document_is_sent_again(serve, open_page):
    live = serve(ScriptedEngine(thinker), method="reason")
    page = open_page(live.url)
    upload(page)
    sent = []
    page.on("request", lambda request: sent.append(request.url.removeprefix(live.url)))
    refused = []

    def refuse_once(route):  # not times=1: a request that comes while Playwright takes the route away can hang
        if refused:
            route.continue_()
        else:
            refused.append(route.request.url)
            route.fulfill(status=404, json={"message": "not held"})

    page.route("**/v1/search", refuse_once)
    ask(page)
    assert [path for path in sent if path.startswith("/v1/") and not path.endswith("thumbnail")] == [
        "/v1/search",
        "/v1/files",
        "/v1/search",
    ]
    assert len(order(page)) == 3


def test_a_page_is_enlarged_and_walked_with_the_keyboard_alone(serve, open_page):
    page = open_page(serve(ScriptedEngine(thinker), method="reason").url)
    upload(page)
    page.keyboard.press("/")
    page.keyboard.type("When was the harbour dredged?")
    page.keyboard.press("Enter")
    page.wait_for_selector("body[data-state=result]")
    for _ in range(12):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.className") == "thumb":
            break
    focus = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert focus == "solid"
    page.keyboard.press("Enter")
    titles = [page.locator("#large-title").text_content()]
    until(page, "document.getElementById('large-picture').naturalWidth > 300")
    page.keyboard.press("ArrowRight")
    titles.append(page.locator("#large-title").text_content())
    assert titles == [f"{name} of book.pdf" for name in order(page)[:2]]
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    assert page.locator("#large-title").text_content() == titles[0]
    page.keyboard.press("Escape")
    assert page.locator("#large").is_hidden()
    assert page.evaluate("document.activeElement.className") == "thumb"
    page.focus("[name=order]:checked")
    before = order(page)
    page.keyboard.press("ArrowLeft")
    assert order(page) == before[::-1]


@pytest.mark.parametrize("width", [320, 390])
def test_a_narrow_screen_shows_everything_without_scrolling_sideways(serve, open_page, width):
    page = open_page(
        serve(ScriptedEngine(thinker), method="reason").url,
        viewport={"width": width, "height": 780},
        has_touch=True,
        is_mobile=True,
    )
    fits = "document.documentElement.scrollWidth <= innerWidth && innerWidth == " + str(width)
    assert page.evaluate(fits)
    upload(page, {**pdf(*BOOK), "name": "a-very-long-name-of-a-report-that-does-not-fit-a-telephone.pdf"})
    ask(page)
    assert page.evaluate(fits)
    for box in (page.locator(".card").nth(i).bounding_box() for i in range(3)):
        assert box["x"] >= 0 and box["x"] + box["width"] <= width
    page.locator(".thumb").first.tap()
    page.locator("#large").wait_for()
    assert page.evaluate(fits)


def test_nothing_moves_for_those_who_do_not_want_it(serve, open_page):
    page = open_page(serve(ScriptedEngine(thinker), method="reason").url, reduced_motion="reduce")
    upload(page)
    page.evaluate("() => { window.moves = 0; Element.prototype.animate = () => { window.moves++; return {}; }; }")
    ask(page)
    assert page.evaluate("window.moves") == 0
    assert page.evaluate("document.getAnimations().length") == 0


def contrast(page, words: str, ground: str) -> float:
    """WCAG's contrast ratio of an element's colour on another's background."""

    def light(selector: str, name: str) -> float:
        color = page.evaluate("([s, n]) => getComputedStyle(document.querySelector(s))[n]", [selector, name])
        parts = [int(part) / 255 for part in re.findall(r"\d+", color)[:3]]
        red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    first, second = sorted((light(words, "color"), light(ground, "backgroundColor")), reverse=True)
    return (first + 0.05) / (second + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_stand_out_in_light_and_dark(serve, open_page, scheme):
    page = open_page(serve(ScriptedEngine(thinker), method="reason").url, color_scheme=scheme)
    upload(page)
    ask(page)
    for words, ground in [
        ("#headline", "body"),
        ("#facts", "body"),
        (".reason", ".card"),
        (".evidence", ".card"),
        ("mark", "mark"),
        (".moved.up", ".card"),
        (".moved.down", ".card"),
        ("#go", "#go"),
        (".reasoning h3", ".reasoning"),
    ]:
        assert contrast(page, words, ground) >= 4.5, (words, ground)
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(21, 24, 28)"
    assert dark == (scheme == "dark")


def test_where_keys_are_set_the_page_asks_for_one(serve, open_page):
    page = open_page(serve(ScriptedEngine(thinker), method="reason", api_keys=("sesame",)).url)
    page.fill("#key", "wrong")
    page.keyboard.press("Enter")
    page.get_by_text("does not know that key").wait_for()
    page.fill("#key", "sesame")
    page.keyboard.press("Enter")
    page.get_by_text("scripted · reason").wait_for()
    upload(page)
    ask(page)
    until(page, "[...document.querySelectorAll('.thumb img')].every((i) => i.src.startsWith('blob:') && i.naturalWidth)")


def test_words_of_a_document_stay_words(serve, open_page):
    def hostile(request) -> str:
        return thinker(request).replace("note number", "<img src=x onerror=alert(1)>")

    page = open_page(serve(ScriptedEngine(hostile), method="reason").url)
    upload(page, {**pdf("<b>harbour</b> dredged", *BOOK[1:]), "name": "<i>book.pdf"})
    ask(page, "<script>alert(2)</script> harbour")
    assert page.locator(".card b, #documents i, .reason img, #thoughts img, #asked script").count() == 0
    assert page.locator(".reason").first.text_content().startswith("<img src=x")
