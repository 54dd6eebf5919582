"""The evaluation set of MMDocIR in its published files, small: two documents in two of the ten domains, four questions."""

import json
from pathlib import Path

from support.tiny import Picture

TEXTS = (
    "Contents.",
    "Fees: a yacht pays 31 euros.",
    "The seals of the outer harbour.",
    "Cranes and quays.",
    "Opening hours: nine to six.",
)


def evaluation_set(folder: Path) -> Path:
    """Write annotations and pages; page texts differ between ``ocr_text`` and ``vlm_text``."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    def asked(question: str, *pages: int) -> dict:
        return {"Q": question, "A": "x", "page_id": list(pages), "type": "text-only", "layout_mapping": []}

    records = [
        {"doc_name": "harbour.pdf", "domain": "Guidebook", "page_indices": [0, 2], "layout_indices": [0, 0],
         "questions": [asked("What does a yacht pay?", 1), asked("Where are the seals?", 2)]},
        {"doc_name": "port.pdf", "domain": "News", "page_indices": [3, 4], "layout_indices": [1, 1],
         "questions": [asked("When is it open?", 1), asked("What stands on the quays?", 0, 1)]},
    ]  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "MMDocIR_annotations.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))
    rows = [
        {"doc_name": "harbour" if i < 3 else "port", "domain": "d", "passage_id": str(i if i < 3 else i - 3), "image_path": f"{i}.jpg",
         "image_binary": Picture("x", (84, 112), (40 * i, 90, 200 - 40 * i)).png(), "ocr_text": text, "vlm_text": f"A page: {text}"}
        for i, text in enumerate(TEXTS)
    ]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows), folder / "MMDocIR_pages.parquet")
    return folder
