"""Progress of the library where a person watches: on a terminal, or in a notebook. Commands and servers have their own."""

from __future__ import annotations

import sys
import time
from typing import Any

from mmr5.types import Progress

FIRST_S, EACH_S = 1.0, 0.1
"""Seconds of a stage until it is shown, and between two updates."""
_WIDTH = 79
_silent = False


def silence() -> None:
    """Show nothing from now on in this process."""
    global _silent
    _silent = True


def watched(progress: Progress | None) -> Progress | None:
    """The caller's own progress; without one a line on stderr where a person watches, and else none."""
    if progress is not None or _silent or not (_in_notebook() or _is_terminal()):
        return progress
    return _Line()


def _is_terminal() -> bool:
    return sys.stderr is not None and sys.stderr.isatty()


def _in_notebook() -> bool:
    shell: Any = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return getattr(shell, "kernel", None) is not None


class _Line:
    """One line that is written over, from the time that a stage takes long, and taken away at its end."""

    def __init__(self) -> None:
        self._stage, self._began, self._told = "", 0.0, 0.0
        self._shown = False

    def __call__(self, stage: str, done: int, total: int | None) -> None:
        now = time.monotonic()
        if stage != self._stage:
            self._stage, self._began = stage, now
        ended = total is not None and done >= total
        if ended:
            self._write("")
        elif now - self._began >= FIRST_S and now - self._told >= EACH_S:
            self._told = now
            self._write(stage if total is None else f"{stage} {done}/{total}")

    def _write(self, text: str) -> None:
        if text or self._shown:
            sys.stderr.write(f"\r{text[:_WIDTH]:<{_WIDTH}}\r{text[:_WIDTH]}")
            sys.stderr.flush()
        self._shown = bool(text)
