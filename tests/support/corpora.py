"""Small corpus folders, made on the spot."""

import json


def write_corpus(folder, documents, questions, gists=()):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "docs.json").write_text(json.dumps(documents))
    (folder / "questions.jsonl").write_text("".join(json.dumps(q) + "\n" for q in questions))
    if gists:
        (folder / "gists.jsonl").write_text("".join(json.dumps(g) + "\n" for g in gists))
    return folder


def draw_pdf(path, texts):
    """A PDF with one line of text a page."""
    parts = ["<< /Type /Catalog /Pages 2 0 R >>", None, "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>"]
    kids = []
    for text in texts:
        lines = "".join(f"({line}) Tj 0 -16 Td " for line in text.split("\n"))
        stream = f"BT /F1 12 Tf 20 160 Td {lines}ET"
        parts += [
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 200 200] /Contents {len(parts) + 2} 0 R /Resources << /Font << /F1 3 0 R >> >> >>",
            f"<< /Length {len(stream)} >>\nstream\n{stream}\nendstream",
        ]
        kids.append(len(parts) - 1)
    parts[1] = f"<< /Type /Pages /Kids [{' '.join(f'{k} 0 R' for k in kids)}] /Count {len(kids)} >>"
    data, places = b"%PDF-1.4\n", []
    for number, part in enumerate(parts, start=1):
        places.append(len(data))
        data += f"{number} 0 obj\n{part}\nendobj\n".encode()
    table = "".join(f"{place:010} 00000 n \n" for place in places)
    data += f"xref\n0 {len(parts) + 1}\n0000000000 65535 f \n{table}trailer << /Size {len(parts) + 1} /Root 1 0 R >>\nstartxref\n{len(data)}\n%%EOF\n".encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def gates(home):
    """A corpus folder with one PDF of eight pages and four questions."""
    colours = ["red", "green", "blue", "white", "black", "brown", "grey", "pink"]
    draw_pdf(
        home / "gates" / "pdf" / "gates.pdf",
        [f"Gate number {i} of the old town\nIt is painted {c} on both sides." for i, c in enumerate(colours)],
    )
    questions = [
        {
            "doc_name": "gates",
            "question": f"What colour has gate {i}?",
            "page_ids": [i],
            "why": {str(i): f"Says that it is {colours[i]}."},
        }
        for i in (0, 2, 5, 7)
    ]
    documents = [{"doc_name": "gates", "domain": "none", "pages": 8, "split": "train"}]
    return write_corpus(home / "gates", documents, questions)
