"""Files of JSON and of JSON lines: read with the line number in every complaint, written in one atomic step."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from mmr5.errors import CorpusError
from mmr5.storage.atomic import write_text, writing

Record = dict[str, Any]


def read_json(path: Path) -> Any:
    """The JSON value in a file.

    Raises:
        CorpusError: the file is missing, not UTF-8, or not JSON.
    """
    text = _read_text(path)
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise CorpusError(f"{path}, line {error.lineno}: not valid JSON ({error.msg}): correct the file") from error


def read_jsonl(path: Path) -> Iterator[tuple[int, Record]]:
    """The objects of a file with one JSON object a line; blank lines are passed over.

    Yields:
        ``(one-based line number, object)``.

    Raises:
        CorpusError: the file is missing, not UTF-8, or a line is no JSON object.
    """
    for number, line in enumerate(_read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            raise CorpusError(f"{path}, line {number}: not valid JSON ({error.msg}): correct or remove the line") from error
        if not isinstance(record, dict):
            raise CorpusError(f"{path}, line {number}: expected one JSON object, found {type(record).__name__}")
        yield number, record


def text_field(record: Record, name: str, where: str) -> str:
    """A field that holds text, not empty.

    Raises:
        CorpusError: it does not.
    """
    value = record.get(name)
    if not isinstance(value, str) or not value.strip():
        raise CorpusError(f"{where}: {name} is {value!r}: expected a text that is not empty")
    return value


def dumps(record: Mapping[str, Any]) -> str:
    """One line of a JSONL file, without its line end."""
    return json.dumps(record, ensure_ascii=False)


def write_jsonl(path: Path, records: Iterable[Mapping[str, Any]]) -> int:
    """Write records, one a line; the file appears whole or not at all.

    Returns:
        How many were written.

    Raises:
        OutputError: the file cannot be written.
    """
    count = 0
    with writing(path) as file:
        for record in records:
            file.write(dumps(record).encode("utf-8", "backslashreplace") + b"\n")
            count += 1
    return count


def write_json(path: Path, value: Any) -> None:
    """Write a JSON value, indented; the file appears whole or not at all.

    Raises:
        OutputError: the file cannot be written.
    """
    write_text(path, json.dumps(value, ensure_ascii=False, indent=2) + "\n")


def _read_text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError as error:
        raise CorpusError(f"there is no file {path}") from error
    except UnicodeDecodeError as error:
        raise CorpusError(f"{path} is not UTF-8 (byte {error.start}): save it as UTF-8") from error
    except OSError as error:
        raise CorpusError(f"{path} cannot be read: {error.strerror or error}") from error
