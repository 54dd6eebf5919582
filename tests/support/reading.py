"""Readers of documents for tests of the processes that read; another process must be able to import them."""

import os
import signal

from mmr5.retrieval.index.reading import read_document


def read_or_die(wanted, settings, cache):
    """Reads a document; one that is called deadly ends the process, as a fault in a library would."""
    if "deadly" in wanted.file.name:
        os.kill(os.getpid(), signal.SIGKILL)
    return read_document(wanted, settings, cache)
