"""What commands print: results on standard output, progress on standard error."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from napari_focusstack.core.progress import Job, Progress, drain

if TYPE_CHECKING:
    from napari_focusstack.core.stack import Stack

T = TypeVar("T")
FAILURE = "failed: "
MORE = "; with -v it says where"
"""How a line on a failure of ours begins, and how the last one ends, where -v was not given."""
_BAR = 30


def run(job: Job[T], *, verbose: bool) -> T:
    """Run a job to its end with its progress on standard error: a bar on a terminal, lines where asked for."""
    terminal = sys.stderr.isatty()

    def tell(step: Progress) -> None:
        if verbose:
            print(f"{step.done}/{step.total} {step.message}", file=sys.stderr)
        elif terminal:
            filled = round(_BAR * step.done / step.total) if step.total else _BAR
            line = f"[{'#' * filled}{' ' * (_BAR - filled)}] {step.message}"
            print(f"\r\x1b[K{line[:100]}", end="", file=sys.stderr, flush=True)

    try:
        return drain(job, tell)
    finally:
        job.close()
        if terminal and not verbose:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def print_json(result: Mapping[str, Any]) -> None:
    """Print the one JSON object; what is no finite number becomes null."""
    print(json.dumps(_plain(result), allow_nan=False))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)


def number(value: float | None, unit: str = "") -> str:
    """A number for people; "?" where it is not known."""
    return "?" if value is None else f"{value:.5g}{unit}"


def failure(error: Exception) -> str:
    """A failure of ours in words, without a full stop."""
    return FAILURE + ": ".join(filter(None, (type(error).__name__, " ".join(str(error).split()).rstrip("."))))


def print_note(note: str) -> None:
    """Print what may have gone otherwise than was meant, where there is such a thing."""
    if note:
        print(f"note: {note}")


def print_uncalibrated(stack: Stack) -> None:
    """Print which lengths of a stack are not known, and how to give them."""
    missing = {"pixel size": "--pixel-size"} if stack.x_um is None or stack.y_um is None else {}
    if stack.n_slices > 1 and stack.heights_um is None:
        missing |= {"z step": "--z-step"}
    are = "is" if len(missing) == 1 else "are"
    if missing:
        print_note(f"the {' and '.join(missing)} {are} not known: give {' and '.join(missing.values())} in µm")


def print_caution(caution: str) -> None:
    """Print what everyone has to know who sees a result, where there is such a thing."""
    if caution:
        print(f"caution: {caution}")
