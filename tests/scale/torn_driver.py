"""Run by test_kill.py as a process of its own: the driver of rerank-run, which stops in the middle of one of its appends.

Arguments: the corpus folder, the folder of the result, the append (from 1) that is torn (0 for none), and a seed. With half of that
append in the file it prints the number of bytes and waits to be killed.
"""

import os
import random
import signal
import sys
from pathlib import Path

from mmr5.corpora import load_corpus
from mmr5.scale.driver import rerank_run
from mmr5.scale.worker import Job, Worker
from mmr5.settings import EvaluationSettings, WorkerSettings


def tear(number, draw):
    """Let the append of that number write a part that ends within a line."""
    whole, appends = os.write, iter(range(1, 10**9))

    def write(handle, data):
        if not os.readlink(f"/proc/self/fd/{handle}").endswith("/run.jsonl") or next(appends) != number:
            return whole(handle, data)
        cut = draw.choice([n for n in range(1, len(data)) if b"\n" not in data[n - 1 : n + 1]])
        whole(handle, data[:cut])
        print(cut, flush=True)
        while True:
            signal.pause()

    os.write = write


def main(corpus, out, number, seed):
    setup = EvaluationSettings(
        str(corpus), retriever=str(corpus / "first.trec"), model="m", engine="scripted", method="direct", view="text", ocr="never"
    )
    tear(number, random.Random(seed))

    def here(job, work, workers):
        worker = Worker(job)
        return (worker.run(piece) for piece in work)

    rerank_run(Job(setup), load_corpus(corpus, ocr="never"), out, WorkerSettings(1), resume=True, batch=2, source=here)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
