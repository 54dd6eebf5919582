"""Questions of a file, for ``mmr5 rerank --questions``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mmr5.errors import InputError

MAX_BYTES = 100_000_000
"""Of a file of questions."""


def read_questions(file: Path) -> list[dict[str, Any]]:
    """The questions of a file, one a line, blank lines skipped: plain text, or JSON objects with ``question``.

    Args:
        file: its place; a first line that begins with ``{`` says that all lines are objects.

    Returns:
        Objects with ``question``; those of JSONL have their other fields, too.

    Raises:
        InputError: the file cannot be read, holds no question, or a line is no such object.
    """
    try:
        if file.stat().st_size > MAX_BYTES:
            raise InputError(f"{file} has {file.stat().st_size:,} bytes, and at most {MAX_BYTES:,} are read: split it")
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file} cannot be read as UTF-8 text ({getattr(error, 'strerror', None) or error})") from error
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    if not lines:
        raise InputError(f"{file} holds no question: write one a line")
    if not lines[0][1].startswith("{"):
        return [{"question": line} for _, line in lines]
    return [_record(line, f"{file}, line {number}") for number, line in lines]


def _record(line: str, where: str) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except ValueError as error:
        raise InputError(f"{where} is not JSON ({error})") from error
    if not isinstance(record, dict) or not isinstance(record.get("question"), str):
        raise InputError(f'{where} is no object with a text "question"')
    return record
