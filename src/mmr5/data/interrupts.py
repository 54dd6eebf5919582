"""Ctrl-C that waits for a safe place.

An interrupt that is raised while :func:`concurrent.futures.wait` takes the locks of its futures leaves some of them taken, and
the workers that hold those futures never end. So the first Ctrl-C only sets a flag, and the work looks at it where it may stop.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

LOOK_SECONDS = 0.2
"""How long work may wait before it looks whether it was interrupted."""


class Interrupts:
    """Whether Ctrl-C was pressed."""

    def __init__(self) -> None:
        self._pressed = threading.Event()

    def press(self) -> None:
        """Note an interrupt."""
        self._pressed.set()

    def check(self) -> None:
        """Stop here if there was one.

        Raises:
            KeyboardInterrupt: there was.
        """
        if self._pressed.is_set():
            raise KeyboardInterrupt


@contextmanager
def held_interrupts() -> Iterator[Interrupts]:
    """Hold the first Ctrl-C back until :meth:`Interrupts.check`; a second one is raised at once.

    Outside the main thread, or where the program ignores Ctrl-C, nothing changes.
    """
    found = Interrupts()
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield found
        return

    def first(number: int, frame: FrameType | None) -> None:
        del number, frame
        signal.signal(signal.SIGINT, before)
        found.press()

    signal.signal(signal.SIGINT, first)
    try:
        yield found
    finally:
        signal.signal(signal.SIGINT, before)
