"""The process that opens office documents.

``python -m mmr5.pages.office_worker PARENT MEMORY SECONDS TASK KIND FILE FOLDER [PROGRAM]`` gives up network, memory and time
(:mod:`mmr5.sandbox`). For the task ``pdf`` it runs LibreOffice, which leaves ``document.pdf`` in FOLDER; it leads a process group
of its own, and takes it along when its parent ends. For ``text``, and for ``notes`` (what is said beside slides), it writes
``pages.json`` there, ``{"pages": [texts], "notes": [what was left out]}``. The last line on stderr is the reason of a failure;
``missing NAME`` is a library that is not installed.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from mmr5 import sandbox
from mmr5.pages.references import without_references

FILTERS = {
    "html": "writer_pdf_Export",
    "xlsx": "calc_pdf_Export",
    "ods": "calc_pdf_Export",
    "pptx": "impress_pdf_Export",
    "odp": "impress_pdf_Export",
}
"""LibreOffice's way to a PDF where it must be named; else it finds one by the document."""


def main(arguments: Sequence[str]) -> int:
    """Do the work; returns the exit status."""
    parent, memory, seconds, task, kind, file, folder, *program = arguments
    sandbox.enter(int(parent), int(memory), float(seconds))
    if task == "pdf":
        return _run_libreoffice(int(parent), program[0], kind, file, folder)
    try:
        from mmr5.pages.office_text import pages_of, speaker_notes

        pages, notes = (speaker_notes(Path(file)), []) if task == "notes" else pages_of(Path(file), kind)
    except ImportError as error:
        sys.stderr.write(f"missing {error.name or error}\n")
        return 1
    except MemoryError:
        sys.stderr.write("it takes too much memory\n")
        return 1
    except Exception as error:  # the edge of the process: whatever a damaged file makes a library raise is its reason
        return _failed(error)
    Path(folder, "pages.json").write_text(json.dumps({"pages": pages, "notes": notes}), encoding="utf-8")
    return 0


def _run_libreoffice(parent: int, program: str, kind: str, file: str, folder: str) -> int:
    def end_all(*_: object) -> None:
        os.killpg(os.getpgrp(), signal.SIGKILL)

    signal.signal(signal.SIGTERM, end_all)
    sandbox.die_with(parent, signal.SIGTERM)
    source = Path(file)
    try:
        source.write_bytes(without_references(source.read_bytes(), kind))
    except Exception as error:  # the edge of the process: a document that cannot be cleaned is not opened
        return _failed(error)
    if kind == "xlsx":
        _prepare_workbook(source)
    target = f"pdf:{FILTERS[kind]}" if kind in FILTERS else "pdf"
    options = [
        "--headless", "--norestore", "--nolockcheck", "--nodefault", "--nofirststartwizard",
        f"-env:UserInstallation={Path(folder, 'profile').as_uri()}",
        *(["--infilter=HTML (StarWriter)"] if kind == "html" else []),
        "--convert-to", target, "--outdir", folder, file,
    ]  # fmt: skip
    return subprocess.run([program, *options], check=False).returncode


def _failed(error: Exception) -> int:
    """Say why, and give the exit status."""
    sys.stderr.write(f"{type(error).__name__}: {' '.join(str(error).split())[:200]}\n")
    return 1


def _prepare_workbook(file: Path) -> None:
    """Widen its columns; one that cannot be changed is printed as it is."""
    from mmr5.pages.sheets import prepare

    with contextlib.suppress(Exception):
        prepare(file)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
