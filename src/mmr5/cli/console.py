"""What the commands say: the result on stdout, progress and messages on stderr."""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import Any, NoReturn

from mmr5.errors import OutputError
from mmr5.types import Progress

_NO_SPACE = "no space left on the device. Free some, or send the result elsewhere"
_REASONS = {
    errno.ENOSPC: _NO_SPACE,
    errno.EDQUOT: _NO_SPACE,
    errno.EPIPE: "what was to read it has ended. Let it read to the end, or write into a file",
}


def note(text: str) -> None:
    """One line to stderr."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


@contextmanager
def guarded_streams() -> Iterator[None]:
    """Streams on which no text and no device ends in an internal error.

    A character that the encoding lacks becomes a question mark. What stderr cannot take is lost, and the work goes on.

    Raises:
        OutputError: stdout cannot be written.
    """
    with ExitStack() as stack:
        null_in, null_out = stack.enter_context(Path(os.devnull).open()), stack.enter_context(Path(os.devnull).open("w"))
        out, err = sys.stdout or null_in, sys.stderr or null_out
        for stream in (out, err):
            if isinstance(stream, io.TextIOWrapper) and stream.errors in ("strict", "surrogateescape"):
                stream.reconfigure(errors="replace")
            stack.callback(_flush_or_discard, stream)
        stack.enter_context(redirect_stdout(_Guarded(out, _unwritable)))
        stack.enter_context(redirect_stderr(_Guarded(err, lambda _: None)))
        yield


class _Guarded:
    """A stream, text or binary, whose failures are told to a function."""

    def __init__(self, stream: Any, failed: Callable[[OSError], None]) -> None:
        self._stream, self._failed = stream, failed

    def write(self, data: Any) -> int:
        try:
            return int(self._stream.write(data))
        except OSError as error:
            self._failed(error)
            return len(data)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError as error:
            self._failed(error)

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._stream, name)
        return _Guarded(value, self._failed) if name == "buffer" else value


def _unwritable(error: OSError) -> NoReturn:
    reason = _REASONS.get(error.errno or 0) or f"{error.strerror or error}. Send it to a file or a terminal that can be written"
    raise OutputError(f"cannot write the result: {reason}") from error


def _flush_or_discard(stream: Any) -> None:
    """Leave nothing that the interpreter would fail to write when it ends."""
    try:
        stream.flush()
    except OSError:
        with suppress(OSError), Path(os.devnull).open("w") as nowhere:
            os.dup2(nowhere.fileno(), stream.fileno())


@contextmanager
def progress_line() -> Iterator[Progress]:
    """A progress callback: a live bar on a terminal, one line a stage elsewhere."""
    if not sys.stderr.isatty():
        yield _Stages()
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("starting", total=None)

        def show(stage: str, done: int, total: int | None) -> None:
            bar.update(task, description=stage, completed=done, total=total)

        yield show


class _Stages:
    """Says each stage once."""

    def __init__(self) -> None:
        self._said = ""

    def __call__(self, stage: str, done: int, total: int | None) -> None:
        del done
        if stage != self._said:
            self._said = stage
            note(f"{stage} ({total})" if total is not None else stage)
