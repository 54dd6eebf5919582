"""One run of a teacher: what it did, counted and told while it goes, and a Ctrl-C that waits for a safe place.

An interrupt that is raised while :func:`concurrent.futures.wait` takes the locks of its futures leaves some of them taken, and
the workers that hold those futures never end. So the first Ctrl-C only sets a flag, and the work looks at it where it may stop.
"""

from __future__ import annotations

import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType

from mmr5.storage.jsonl import Record
from mmr5.types import Progress, Usage

REPORT_SECONDS = 5.0
"""Between two lines of progress."""
LOOK_SECONDS = 0.2
"""How long work may wait before it looks whether it was interrupted."""


@dataclass(slots=True)
class Tally:
    """What a run did, counted while it goes.

    Attributes:
        total: notes and rewritten lists that are wanted.
        present: those that were in the journal already.
        written: those that were written now.
        dropped: those that the teacher could not write so that they fit their label.
        failures: requests that failed for good, by kind; they are asked again by the next run.
        asks: requests that were answered.
        usage: their tokens.
        started: when the run began, in seconds of the clock.
        in_a_row: failures of the backend since the last success.
    """

    total: int = 0
    present: int = 0
    written: int = 0
    dropped: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    asks: int = 0
    usage: Usage = Usage()
    started: float = 0.0
    in_a_row: int = 0

    @property
    def done(self) -> int:
        """Everything that is settled."""
        return self.present + self.written + self.dropped + sum(self.failures.values())

    def to_dict(self) -> Record:
        """Plain JSON values."""
        return {
            "total": self.total,
            "present": self.present,
            "written": self.written,
            "dropped": self.dropped,
            "failures": dict(self.failures),
            "asks": self.asks,
            "prompt_tokens": self.usage.prompt_tokens,
            "completion_tokens": self.usage.completion_tokens,
        }

    def line(self, seconds: float) -> str:
        """Rate, tokens, and failures by kind."""
        rate = (self.written + self.dropped) / seconds if seconds > 0 else 0.0
        parts = [
            f"{rate:.1f} a second",
            f"{self.usage.prompt_tokens} tokens read, {self.usage.completion_tokens} written",
            f"{self.dropped} dropped",
            "failures: " + (", ".join(f"{kind} {count}" for kind, count in sorted(self.failures.items())) or "none"),
        ]
        return "; ".join(parts)


class Reporter:
    """Tells of the work now and then."""

    def __init__(self, progress: Progress | None, tally: Tally, clock: Callable[[], float]) -> None:
        self._progress, self._tally, self._clock = progress, tally, clock
        self._last = tally.started

    def __call__(self, *, force: bool = False) -> None:
        """Tell of the work if it is time, or at once."""
        now = self._clock()
        if self._progress is not None and (force or now - self._last >= REPORT_SECONDS):
            self._last = now
            line = self._tally.line(now - self._tally.started)
            self._progress(f"notes {self._tally.done} of {self._tally.total}: {line}", self._tally.done, self._tally.total)

    def say(self, stage: str) -> None:
        """Tell of something out of turn."""
        if self._progress is not None:
            self._progress(stage, self._tally.done, self._tally.total)


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
