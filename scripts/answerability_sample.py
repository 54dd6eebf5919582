"""Write a corpus folder to measure on whether any page answers: questions of training documents with and without an answer.

    python scripts/answerability_sample.py opendocs --each 1 --out runs/answerability/corpus
    mmr5 evaluate runs/answerability/corpus --retriever hybrid --model none --ocr never --out runs/answerability/hybrid

So many questions of each training document: answerable ones, unanswerable ones as annotated, and (kind ``other_document``)
answerable questions of other documents. PDFs are links to those in the cache.
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path

from mmr5.corpora.opendocs import annotations_folder, pdf_folder
from mmr5.storage.cache import Cache
from mmr5.storage.jsonl import read_json, read_jsonl, write_json, write_jsonl


def main() -> None:
    """Draw, and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus")
    parser.add_argument("--each", type=int, default=1, help="questions of each of the three sorts a document")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    folder = annotations_folder(given.corpus)
    documents = [d for d in read_json(folder / "docs.json") if d["split"] == "train"]
    questions = [record for _, record in read_jsonl(folder / "questions.jsonl") if record["split"] == "train"]
    drawn = []
    for document in documents:
        name = document["doc_name"]
        draw = random.Random(name)
        own = [q for q in questions if q["doc_name"] == name and q["page_ids"]]
        hard = [q for q in questions if q["doc_name"] == name and not q["page_ids"]]
        others = [q for q in questions if q["doc_name"] != name and q["page_ids"]]
        drawn += draw.sample(own, min(given.each, len(own))) + draw.sample(hard, min(given.each, len(hard)))
        foreign = {"doc_name": name, "split": "train", "page_ids": [], "kind": "other_document"}
        drawn += [{**foreign, "question": q["question"]} for q in draw.sample(others, given.each)]
    given.out.mkdir(parents=True, exist_ok=True)
    write_json(given.out / "docs.json", documents)
    write_jsonl(given.out / "questions.jsonl", drawn)
    pdfs = given.out / "pdf"
    if not pdfs.is_symlink():
        pdfs.symlink_to(pdf_folder(Cache(), given.corpus), target_is_directory=True)
    print(json.dumps({"documents": len(documents), "questions": len(drawn)}))


if __name__ == "__main__":
    main()
