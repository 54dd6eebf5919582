import json
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def harbour(tmp_path):
    """A corpus folder: the example report and the questions about it."""
    folder = tmp_path / "harbour"
    (folder / "pdf").mkdir(parents=True)
    shutil.copy(ROOT / "examples" / "harbour-report.pdf", folder / "pdf" / "harbour.pdf")
    (folder / "docs.json").write_text(json.dumps([{"doc_name": "harbour", "domain": "Report", "pages": 12}]))
    asked = json.loads((ROOT / "examples" / "questions.json").read_text())
    lines = [{"doc_name": "harbour", "question": q["question"], "page_ids": [q["page"] - 1], "type": "text"} for q in asked]
    (folder / "questions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder
