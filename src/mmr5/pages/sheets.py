"""Workbooks made ready to be printed: columns wide enough for what they hold, and each sheet's name on its pages.

A value that is wider than its column is printed as ``###``, and a text is cut off at its neighbour. It runs in
:mod:`mmr5.pages.office_worker`.
"""

from __future__ import annotations

import datetime
import io
import re
import zipfile
from pathlib import Path
from typing import Any

MAX_WIDTH = 60
"""Characters to which a column is widened for a text beside others; longer ones are cut off when printed."""
MAX_ROWS = 20_000
MAX_COLUMNS = 200
_SPARE = 2
_DATE_WIDTH, _NUMBER_WIDTH = 19, 20
_COLUMNS = re.compile(rb"<cols\b[^>]*>.*?</cols>|<cols\b[^>]*/>", re.DOTALL)
_COLUMN = re.compile(rb"<col\b[^>]*>")
_ATTRIBUTE = re.compile(rb'(\w+)="([^"]*)"')
_HEADER = b"<headerFooter><oddHeader>&amp;C&amp;A</oddHeader></headerFooter>"
_BEFORE_HEADER = re.compile(
    rb"<(?:rowBreaks|colBreaks|customProperties|cellWatches|ignoredErrors|smartTags|drawing|legacyDrawing|legacyDrawingHF|picture|"
    rb"oleObjects|controls|webPublishItems|tableParts|extLst)\b|</worksheet>"
)


def prepare(file: Path) -> None:
    """Change a workbook on disk so that its printed pages hold what its cells hold.

    Raises:
        ImportError: openpyxl is not installed.
    """
    import openpyxl

    book = openpyxl.load_workbook(file, read_only=True, data_only=True)
    needed = {}
    for sheet in book.worksheets:
        if sheet.sheet_state == "visible":
            needed[str(sheet._worksheet_path).lstrip("/")] = _needed_widths(sheet)
    book.close()
    out = io.BytesIO()
    with zipfile.ZipFile(file) as archive, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as made:
        for part in archive.infolist():
            data = archive.read(part)
            if part.filename in needed:
                data = with_widths(data, needed[part.filename])
            made.writestr(part.filename, data)
    file.write_bytes(out.getvalue())


def _needed_widths(sheet: Any) -> dict[int, float]:
    """Characters that each column needs, by its one-based number."""
    found: dict[int, float] = {}
    for row in sheet.iter_rows(values_only=True, max_row=MAX_ROWS, max_col=MAX_COLUMNS):
        for i, value in enumerate(row):
            if value is None or value == "":
                continue
            has_neighbour = i + 1 < len(row) and row[i + 1] not in (None, "")
            found[i + 1] = max(found.get(i + 1, 0.0), _width(value, has_neighbour))
    return found


def _width(value: object, has_neighbour: bool) -> float:
    if isinstance(value, bool):
        return 7
    if isinstance(value, datetime.datetime | datetime.date | datetime.time):
        return _DATE_WIDTH
    if isinstance(value, int | float):
        return min(_NUMBER_WIDTH, len(str(value)) + len(str(value)) // 3 + _SPARE)
    if not has_neighbour:
        return 0
    longest = max((sum(2 if ord(c) > 0x2E80 else 1 for c in line) for line in str(value).split("\n")), default=0)
    return min(MAX_WIDTH, longest * 1.1 + _SPARE)


def with_widths(sheet: bytes, needed: dict[int, float]) -> bytes:
    """A sheet's XML with columns of at least these widths, and its name in the header where it has none.

    Args:
        sheet: the part.
        needed: characters, by a column's one-based number.
    """
    given: dict[int, dict[bytes, bytes]] = {}
    rest: list[dict[bytes, bytes]] = []
    last = max(needed, default=0)
    found = _COLUMNS.search(sheet)
    for column in _COLUMN.findall(found[0]) if found else ():
        values = dict(_ATTRIBUTE.findall(column))
        low, high = int(values.get(b"min", b"1")), int(values.get(b"max", b"1"))
        given.update((number, values) for number in range(low, min(high, last) + 1))
        if high > last:
            rest.append({**values, b"min": str(max(low, last + 1)).encode()})
    columns = []
    for number in range(1, last + 1):
        values = dict(given.get(number, {}))
        width = max(float(values.get(b"width", b"8.43")), needed.get(number, 0.0))
        place = str(number).encode()
        values |= {b"min": place, b"max": place, b"width": f"{width:.2f}".encode(), b"customWidth": b"1"}
        columns.append(values)
    made = b"".join(b"<col %s/>" % b" ".join(b'%s="%s"' % pair for pair in values.items()) for values in [*columns, *rest])
    if made:
        new = b"<cols>" + made + b"</cols>"
        sheet = (
            sheet[: found.start()] + new + sheet[found.end() :] if found else sheet.replace(b"<sheetData", new + b"<sheetData", 1)
        )
    if b"<headerFooter" not in sheet:
        sheet = _BEFORE_HEADER.sub(lambda part: _HEADER + part[0], sheet, count=1)
    return sheet
