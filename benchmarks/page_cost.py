"""What a page costs a processor before a model sees it: processor time in milliseconds a page, one thread, and its bytes.

    python benchmarks/page_cost.py opendocs --split dev --pages 40
    python benchmarks/page_cost.py opendocs --split dev --sent 100      # and what a request costs the process that sends it

*Render*: PDF → picture within the pixel budget. *PNG*: picture → what a server is sent. *Decode*: a JPEG of the picture → pixels.
*Cut*: picture → patches, resized, as Qwen2.5-VL reads them. Times are of this process alone, so other load disturbs them little.
*Sent*: requests with the text or the picture of one page, to a server that answers at once.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import random
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

sys.path.insert(0, str(Path(__file__).parent))

from rerank_run import served

from mmr5.corpora import load_corpus
from mmr5.engines.openai.engine import OpenAIEngine
from mmr5.engines.protocol import Request, Sampling
from mmr5.pages import DEFAULT_MAX_PIXELS
from mmr5.pages.images import decode
from mmr5.types import Page


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


def main() -> None:
    """Measure and print one line of JSON: medians a page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus")
    parser.add_argument("--split")
    parser.add_argument("--pages", type=int, default=40)
    parser.add_argument("--sent", type=int, default=0, metavar="REQUESTS")
    parser.add_argument("--max-pixels", type=int, default=DEFAULT_MAX_PIXELS)
    given = parser.parse_args()
    import torch
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    from mmr5.engines.runtime.vision import Patches

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
