"""What a page costs a processor before a model sees it: processor time in milliseconds a page, one thread, and its bytes.

    python benchmarks/page_cost.py opendocs --split dev --pages 40
    python benchmarks/page_cost.py opendocs --split dev --sent 100      # and what a request costs the process that sends it

*Render*: PDF → picture within the pixel budget. *PNG*: picture → what a server is sent. *Decode*: a JPEG of the picture → pixels.
*Cut*: picture → patches, resized, as Qwen2.5-VL reads them. Times are of this process alone, so other load disturbs them little.
*Sent*: requests with the text or the picture of one page, to a server that answers at once.

    python benchmarks/page_cost.py --against-pdfium 300 2400        # documents made for it, or names of PDFs

*Against pdfium*: the same work by pypdfium2 alone and by mmr5, each in a process of its own, in turns: processor time a page
of reading the text and of rendering within the budget, reading from the cache, peak memory, and the ratios.

    python benchmarks/page_cost.py --pictures a.pdf b.pdf

*Pictures*: seconds, on all cores, that the words inside the pictures of text pages take the first time and from the cache.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

sys.path.insert(0, str(Path(__file__).parent))

if TYPE_CHECKING:
    from mmr5.types import Page

MAX_PIXELS = 1_003_520
RENDERED = 40
ROUNDS = 3


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Milliseconds of processor time, and what came of it."""
    clock = time.process_time()
    found = work()
    return (time.process_time() - clock) * 1000, found


def saved(picture: Any, kind: str, **how: Any) -> bytes:
    """A picture as the bytes of a file."""
    data = io.BytesIO()
    picture.save(data, kind, **how)
    return data.getvalue()


def sent(pages: Sequence[Page]) -> dict[str, float]:
    """Milliseconds of processor time a request, by what it carries."""
    from rerank_run import served

    from mmr5.engines.openai.engine import OpenAIEngine
    from mmr5.engines.protocol import Request, Sampling

    found: dict[str, float] = {"requests": len(pages)}
    with served(0.0) as url:
        engine = OpenAIEngine("m", str(url))
        for name in ("text", "image"):
            carried = [
                {"type": "text", "text": (page.text or "")[:9000]} if name == "text" else {"type": "image", "image": page.image}
                for page in pages
            ]
            asked = [Request([{"role": "user", "content": [{"type": "text", "text": "Q? "}, part]}]) for part in carried]
            spent, _ = timed(lambda asked=asked: engine.generate(asked, Sampling(8)))
            found[f"{name}_ms"] = round(spent / len(pages), 1)
    return found


def document(pages: int, path: Path) -> None:
    """Write a PDF of pages with 45 lines of words each, each line a text of its own."""
    words = "harbour ladder corner signal stone captain engine copper garden window paper winter season orchard velvet".split()
    draw = random.Random(0)  # noqa: S311 - not a secret
    out, places = bytearray(b"%PDF-1.4\n"), []

    def add(body: bytes) -> None:
        places.append(len(out))
        out.extend(f"{len(places)} 0 obj\n".encode() + body + b"\nendobj\n")

    add(b"<< /Type /Catalog /Pages 2 0 R >>")
    add(f"<< /Type /Pages /Count {pages} /Kids [{' '.join(f'{4 + 2 * i} 0 R' for i in range(pages))}] >>".encode())
    add(b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>")
    for i in range(pages):
        lines = [f"Page {i + 1} of the ledger", *(" ".join(draw.choices(words, k=9)) for _ in range(44))]
        text = "BT /F1 10 Tf 16 TL 60 780 Td " + " T* ".join(f"({line}) Tj" for line in lines) + " ET"
        add(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Resources << /Font << /F1 3 0 R >> >> "
            f"/Contents {5 + 2 * i} 0 R >>".encode()
        )
        add(f"<< /Length {len(text)} >>\nstream\n{text}\nendstream".encode())
    start = len(out)
    rows = "".join(f"{place:010d} 00000 n \n" for place in places)
    out += f"xref\n0 {len(places) + 1}\n0000000000 65535 f \n{rows}".encode()
    out += f"trailer\n<< /Size {len(places) + 1} /Root 1 0 R >>\nstartxref\n{start}\n%%EOF\n".encode()
    path.write_bytes(out)


def peak_bytes() -> int:
    """Most memory that this process has held."""
    found = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
    return int(found[1]) * 1024 if found else 0


def by_pdfium(path: Path) -> dict[str, float]:
    """Milliseconds a page of pypdfium2 alone."""
    import pypdfium2

    def read() -> list[str]:
        document = pypdfium2.PdfDocument(path)
        texts = []
        for index in range(len(document)):
            page = document[index]
            layer = page.get_textpage()
            texts.append(layer.get_text_range())
            layer.close()
            page.close()
        document.close()
        return texts

    def render() -> None:
        document = pypdfium2.PdfDocument(path)
        for index in range(rendered):
            page = document[index]
            width, height = page.get_size()
            page.render(scale=(MAX_PIXELS / (width * height)) ** 0.5).to_pil()
            page.close()
        document.close()

    text_ms, texts = timed(read)
    rendered = min(RENDERED, len(texts))
    peak = peak_bytes()
    render_ms, _ = timed(render)
    return {
        "pages": len(texts),
        "text_ms": text_ms / len(texts),
        "render_ms": render_ms / rendered,
        "text_peak": peak,
        "peak": peak_bytes(),
    }


def by_mmr5(path: Path) -> dict[str, float]:
    """Milliseconds a page of this package, and of reading what is in its cache."""
    import pypdfium2  # noqa: F401 - loaded before the clock starts, as for the other side

    from mmr5.pages import read_pages
    from mmr5.storage.cache import Cache

    with tempfile.TemporaryDirectory() as folder:
        cache = Cache(Path(folder))
        text_ms, pages = timed(lambda: read_pages(path, ocr="never", cache=cache, on_problem=lambda problem: None))
        text_peak, chosen = peak_bytes(), pages[:RENDERED]
        render_ms, _ = timed(lambda: [page.image.load(MAX_PIXELS).size for page in chosen])
        peak, count = peak_bytes(), len(pages)
        cached_ms, _ = timed(lambda: read_pages(path, ocr="never", cache=cache, on_problem=lambda problem: None))
    return {
        "pages": count,
        "text_ms": text_ms / count,
        "cached_ms": cached_ms / count,
        "render_ms": render_ms / len(chosen),
        "text_peak": text_peak,
        "peak": peak,
    }


def against_pdfium(path: Path) -> dict[str, float]:
    """The best of several rounds of both, and their ratios."""
    found: dict[str, dict[str, float]] = {}
    for _ in range(ROUNDS):
        for role in ("pdfium", "mmr5"):
            done = subprocess.run(
                [sys.executable, __file__, "--role", role, str(path)], capture_output=True, text=True, check=True, env=os.environ
            )
            row = json.loads(done.stdout)
            best = found.setdefault(role, row)
            found[role] = {name: min(value, best[name]) for name, value in row.items()}
    alone, own = found["pdfium"], found["mmr5"]
    ratios = {f"{name}_ratio": own[name] / alone[name] for name in ("text_ms", "render_ms", "text_peak", "peak")}
    return {
        "pages": own["pages"],
        **{f"pdfium_{name}": value for name, value in alone.items() if name != "pages"},
        **own,
        **ratios,
    }


def words_in_pictures(path: Path) -> dict[str, float]:
    """Seconds that the words inside a document's pictures take, with the models loaded."""
    import PIL.Image

    from mmr5.pages import rapid, read_pages
    from mmr5.pages.files import StoredFile
    from mmr5.pages.pdf import read_content
    from mmr5.storage.cache import Cache

    def read(cache: Cache, pages: int | None) -> tuple[float, list[Page]]:
        start = time.perf_counter()
        found = read_pages(path, cache=cache, picture_pages=pages, on_problem=lambda problem: None)
        return time.perf_counter() - start, found

    rapid.read_small(PIL.Image.new("RGB", (64, 64), "white"))
    with tempfile.TemporaryDirectory() as folder:
        cache = Cache(Path(folder))
        before, _ = read(cache, 0)
        seconds, pages = read(cache, None)
        again, _ = read(cache, None)
        content = read_content(StoredFile.of(path), cache)
    with_pictures = sum(bool(page and page.regions) for page in content.pages)
    return {
        "pages": len(pages),
        "with_pictures": with_pictures,
        "gained_words": sum(bool(page.ocr_spans) for page in pages),
        "seconds_without": round(before, 2),
        "seconds": round(seconds, 2),
        "seconds_a_page_with_pictures": round(seconds / max(1, with_pictures), 2),
        "seconds_a_page": round(seconds / len(pages), 2),
        "seconds_from_cache": round(again, 2),
    }


def main() -> None:
    """Measure and print one line of JSON: medians a page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus", nargs="?")
    parser.add_argument("--split")
    parser.add_argument("--pages", type=int, default=40)
    parser.add_argument("--sent", type=int, default=0, metavar="REQUESTS")
    parser.add_argument("--max-pixels", type=int, default=MAX_PIXELS)
    parser.add_argument("--against-pdfium", nargs="+", metavar="PAGES_OR_PDF")
    parser.add_argument("--pictures", nargs="+", type=Path, metavar="PDF")
    parser.add_argument("--role", choices=["pdfium", "mmr5"], help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.role:
        work = by_pdfium if given.role == "pdfium" else by_mmr5
        print(json.dumps(work(Path(given.corpus))))
    elif given.against_pdfium:
        with tempfile.TemporaryDirectory() as folder:
            for item in given.against_pdfium:
                path = Path(item)
                if item.isdecimal():
                    path = Path(folder, f"{item}.pdf")
                    document(int(item), path)
                row = against_pdfium(path)
                print(json.dumps({"document": item, **{name: round(value, 3) for name, value in row.items()}}), flush=True)
    elif given.pictures:
        for path in given.pictures:
            print(json.dumps({"document": path.name, **words_in_pictures(path)}), flush=True)
    elif given.corpus:
        of_corpus(given)
    else:
        parser.error("name a corpus, --against-pdfium or --pictures")


def of_corpus(given: argparse.Namespace) -> None:
    """The parts of what a page of a corpus costs."""
    import torch
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    from mmr5.corpora import load_corpus
    from mmr5.engines.runtime.vision import Patches
    from mmr5.pages.images import decode

    torch.set_num_threads(1)
    cut = Patches(Qwen2VLImageProcessorPil(min_pixels=784, max_pixels=given.max_pixels), given.max_pixels)
    corpus = load_corpus(given.corpus, ocr="never").split(given.split)
    pages = [page for document in corpus.documents for page in corpus.document_pages(document.doc_name) if page.image is not None]
    chosen = random.Random(0).sample(pages, min(given.pages, len(pages)))  # noqa: S311 - a sample, not a secret
    rows: list[dict[str, float]] = []
    for page in chosen:
        render_ms, picture = timed(lambda page=page: page.image.load(given.max_pixels))
        png_ms, png = timed(lambda picture=picture: saved(picture, "PNG"))
        jpeg = saved(picture, "JPEG", quality=85)
        decode_ms, _ = timed(lambda jpeg=jpeg: decode(io.BytesIO(jpeg), max_pixels=given.max_pixels))
        cut_ms, (patches, grid) = timed(lambda picture=picture: cut(picture))
        rows.append(
            {
                "render_ms": render_ms,
                "png_ms": png_ms,
                "decode_ms": decode_ms,
                "cut_ms": cut_ms,
                "png_bytes": len(png),
                "jpeg_bytes": len(jpeg),
                "visual_tokens": grid[0] * grid[1] / 4,
            }
        )
        assert len(patches) == grid[0] * grid[1]
    found = {name: round(statistics.median(row[name] for row in rows), 1) for name in rows[0]}
    files = {page.image.file.path for page in pages if hasattr(page.image, "file")}
    found["pdf_bytes"] = round(sum(path.stat().st_size for path in files) / len(pages)) if files else 0
    print(json.dumps({"pages": len(rows), **found}))
    if given.sent:
        print(json.dumps(sent(pages[: given.sent])))


if __name__ == "__main__":
    main()
