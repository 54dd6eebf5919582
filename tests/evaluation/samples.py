"""What the tests of the report show."""

import io

from PIL import Image

from mmr5 import Page
from mmr5.pages import ImageBytes

HOSTILE = '</script><script>alert(1)</script><img src=x onerror=alert(2)> & "quoted" <!-- \u2028 end'
FACTS = {
    "mmr5": "1", "commit": "c" * 40 + "+changes", "command": "mmr5 evaluate " + HOSTILE, "prompt_fingerprint": None,
    "config": {"corpus": HOSTILE, "split": None, "retriever": "bm25", "model": HOSTILE, "method": "reason", "view": "image", "candidates": 3,
               "fusion": None, "seed": 0, "level": "page"},
    "hardware": {"cores": 2, "device": ""}, "libraries": {"numpy": "2"},
}  # fmt: skip


def picture(shade):
    buffer = io.BytesIO()
    image = Image.effect_noise((300, 400), 60).point(lambda v: (v + shade) % 256).convert("RGB")
    image.save(buffer, "PNG")
    return ImageBytes(buffer.getvalue())


PAGES = [Page("d", i + 1, text=f"page {i}", image=picture(20 * i)) for i in range(4)]
