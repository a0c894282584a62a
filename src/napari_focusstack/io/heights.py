"""Heights of slices as users give them: numbers in a row, a text file, a column of a table."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import numpy as np

from napari_focusstack.core.errors import InputError


def parse_heights(text: str, *, n: int) -> tuple[float, ...]:
    """Read the heights of `n` slices from pasted text: numbers set off by spaces, lines, commas or semicolons.

    A comma inside a number is a decimal comma where that gives `n` numbers.

    Raises
    ------
    InputError
        If there are not `n` finite numbers.
    """
    words = [w for w in re.split(r"[\s;]+", text.strip()) if w]
    if len(words) == n and all(re.fullmatch(r"[+-]?\d+(,\d+)?", w) for w in words):
        words = [w.replace(",", ".") for w in words]
    else:
        words = [w for w in re.split(r"[\s;,]+", text.strip()) if w]
    try:
        values = tuple(float(w) for w in words)
    except ValueError:
        bad = next(w for w in words if _number(w) is None)
        raise InputError(f"'{bad}' is no number: give the height of each of the {n} slices in µm.") from None
    if len(values) != n:
        raise InputError(f"{len(values)} heights were given for {n} slices: give one for each slice, in µm.")
    if not np.isfinite(values).all():
        raise InputError("A height is not a finite number: give the height of each slice in µm.")
    return values


def csv_columns(path: Path, *, n: int) -> dict[str, tuple[float, ...]]:
    """Columns of a CSV file that hold `n` numbers, by their headings (or ``column 1`` … without headings).

    Raises
    ------
    InputError
        If the file can't be read as text, or no column holds `n` numbers.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"'{path.name}' can't be read as a table ({error}): give a CSV file of heights.") from None
    lines = [line for line in text.splitlines() if line.strip()]
    separator = max("\t;,", key=text.count)
    rows = list(csv.reader(io.StringIO("\n".join(lines)), delimiter=separator))
    found: dict[str, tuple[float, ...]] = {}
    for column in range(max((len(row) for row in rows), default=0)):
        cells = [row[column].strip() if column < len(row) else "" for row in rows]
        heading = f"column {column + 1}"
        if cells and _number(cells[0]) is None:
            heading = cells.pop(0) or heading
        numbers = [_number(cell) for cell in cells]
        values = tuple(v for v in numbers if v is not None)
        if len(values) == len(numbers) == n:
            found[heading] = values
    if not found:
        raise InputError(f"No column of '{path.name}' holds {n} numbers: give one height for each of the {n} slices.")
    return found


def read_heights(given: str, *, n: int) -> tuple[float, ...]:
    """Heights of `n` slices from what a user gives: numbers, or the name of a text file or table that holds them.

    Of a table with several columns of `n` numbers the one counts whose heading begins with z, height or position.

    Raises
    ------
    InputError
        If there are not `n` finite numbers, or it is not clear which column is meant.
    """
    path = Path(given)
    if not _is_file(path):
        if path.suffix and any(letter.isalpha() for letter in path.suffix):
            raise InputError(f"'{given}' does not exist: give a file with the height of each slice, or the numbers.")
        return parse_heights(given, n=n)
    try:
        return parse_heights(path.read_text(encoding="utf-8-sig"), n=n)
    except (OSError, UnicodeDecodeError, InputError):
        columns = csv_columns(path, n=n)
    meant = [head for head in columns if re.match(r"z|height|position", head.strip(), re.IGNORECASE)]
    meant = meant or list(columns)
    if len(meant) > 1:
        raise InputError(f"'{path.name}' has {len(meant)} columns of {n} numbers ({', '.join(meant)}): leave one.")
    return columns[meant[0]]


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # the heights of a hundred slices are longer than any file's name
        return False


def _number(text: str) -> float | None:
    try:
        value = float(text.replace(",", "."))
    except ValueError:
        return None
    return value if np.isfinite(value) else None
