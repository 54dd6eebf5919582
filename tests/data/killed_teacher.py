"""Run by test_kill.py as a process of its own: a teacher that says when it is asked, over a made-up corpus."""

import os
import re
import sys
import threading
import time
from pathlib import Path

from mmr5.corpora import Corpus, Document
from mmr5.data.candidates import CandidateList
from mmr5.data.notes import open_notes
from mmr5.data.reasoning import reason
from mmr5.data.teacher import TeacherSettings
from mmr5.engines.protocol import Capabilities, Reply
from mmr5.types import Page, Usage

PAGES = 8


class Store:
    def pages(self, document):
        return [Page(document.doc_name, i + 1, f"text of page p{i}") for i in range(document.pages)]


class Teacher:
    name, model, reserved = "scripted", "scripted", ()
    capabilities = Capabilities(images=True)

    def __init__(self, log, seconds):
        self.log, self.seconds = log, seconds

    def count_tokens(self, text):
        return len(text.split())

    def generate(self, requests, sampling):
        replies = []
        for request in requests:
            text = "".join(p["text"] for m in request.messages for p in m["content"])
            qid = re.search(r"question (doc#\d+)", text)[1]
            page = re.search(r"text of page p(\d+)", text)
            os.write(self.log, f"{qid} {page[1] if page else 'list'}\n".encode())
            time.sleep(self.seconds)
            lines = re.findall(r"^Image \d+: .*$", text, re.MULTILINE)
            said = f"Shows what stands on page {page[1]}." if page else "\n".join(lines)
            replies.append(Reply(said, "stop", Usage(10, 5)))
        return replies


def main(folder, n, seconds):
    corpus = Corpus("toy", (Document("doc", "none", PAGES),), (), Store())
    lists = [
        CandidateList(f"doc#{k}", "doc", f"question doc#{k}?", (k % PAGES,), tuple(range(PAGES)), (0.0,) * PAGES)
        for k in range(n)
    ]
    log = os.open(folder / "asks.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    settings = TeacherSettings(view="text", workers=4, refine=True)
    print("ready", flush=True)
    with open_notes(folder / "notes.jsonl") as journal:
        tally = reason(lists, corpus, Teacher(log, seconds), journal, settings)
    print(tally.to_dict(), flush=True)


if __name__ == "__main__":
    threading.stack_size(256 * 1024)
    main(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
