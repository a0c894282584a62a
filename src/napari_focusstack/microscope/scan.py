"""Scans: the fields of a grid, each brought into focus. What was taken is kept, whatever happens to the others."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from useq import GridRowsColumns, ZRangeAround

from napari_focusstack.core.autofocus import Focused, StageError, going
from napari_focusstack.core.errors import InputError
from napari_focusstack.core.progress import Job, Progress, changed
from napari_focusstack.core.stack import Stack
from napari_focusstack.microscope.acquire import (
    check_length,
    check_memory,
    known,
    near,
    planes_at,
    sequence,
    stack_from,
    stopping,
)
from napari_focusstack.microscope.rig import Place, Rig

XY_TIMEOUT_S = 30.0
POLL_S = 0.005
CANCELLED = "the scan was cancelled before"
ENDED = "the scan ended before"


@dataclass(frozen=True)
class Lost:
    """A field that a scan did not take: its 0-based place in the plan, where it lies, and why."""

    field: int
    y_um: float
    x_um: float
    reason: str


@dataclass(frozen=True, eq=False)
class Scan:
    """A grid of fields.

    Attributes
    ----------
    stack : Stack
        (P, Y, X), or (P, Z, Y, X) with a z plan; a position is a field that was taken, in the order of the visits.
    places_um : (P, 2) float64
        (y, x) of the stage at each.
    seen_um : (P, 2) float64
        The same along the camera's axes, as images lie.
    heights_um : (P,) float64
        Of the stage at each, the middle of its z-stack: in focus where that was found, else where it was found last.
    found : tuple of bool
        Whether each was brought into focus.
    notes : tuple of str
        What went another way than planned in each, and why; empty where nothing did.
    numbers : tuple of int
        0-based place in the plan of each.
    lost : tuple of Lost
        What was not taken.
    ended : str
        Why the scan ended before its end, empty where it did not.
    """

    stack: Stack
    places_um: NDArray[np.float64]
    seen_um: NDArray[np.float64]
    heights_um: NDArray[np.float64]
    found: tuple[bool, ...]
    notes: tuple[str, ...]
    numbers: tuple[int, ...]
    lost: tuple[Lost, ...] = ()
    ended: str = ""

    def missed(self, *, first: int) -> list[str]:
        """What was not taken, a sentence without its full stop for each reason; `first` is the first field's number."""
        total, reasons = len(self.numbers) + len(self.lost), dict.fromkeys(one.reason for one in self.lost)
        told = []
        for reason in reasons:
            fields = [one.field + first for one in self.lost if one.reason == reason]
            if len(fields) == 1:
                told.append(f"Field {fields[0]} was not taken: {reason}")
            else:
                told.append(f"{len(fields)} of {total} fields were not taken ({_runs(fields)}): {reason}")
        return told

    def mosaic(self) -> Stack:
        """The fields side by side, where the stage saw them.

        Later fields lie over earlier ones; nothing is stitched. Of z-stacks the middle slice is taken.
        """
        stack = self.stack
        offsets = np.round((self.seen_um - self.corner_um) / (stack.y_um or 1.0)).astype(int)
        h, w = stack.plane_shape
        image = np.zeros((*(offsets.max(axis=0) + np.array((h, w))), *((3,) if stack.is_rgb else ())), stack.dtype)
        for p, (y, x) in enumerate(offsets):
            image[y : y + h, x : x + w] = stack.plane(stack.n_slices // 2, p=p)
        axes = "YXS" if stack.is_rgb else "YX"
        return dataclasses.replace(stack, data=image, axes=axes, name="mosaic", z_um=None, z_positions_um=None)

    @property
    def corner_um(self) -> NDArray[np.float64]:
        """(y, x) of the mosaic's first pixel, along the camera's axes."""
        corner: NDArray[np.float64] = self.seen_um.min(axis=0)
        return corner


def grid_plan(rig: Rig, *, rows: int, columns: int, overlap_percent: float = 0.0) -> GridRowsColumns:
    """A grid of the camera's fields, along its axes, around where the stage stands, in a snake.

    Raises
    ------
    InputError
        If there is no x-y stage, or the grid is none.
    """
    if not rig.has_xy:
        raise InputError(f"'{rig.info.name}' has no x-y stage: a scan needs one.")
    if rig.info.pixel_um is None:
        raise InputError(f"The pixel size of '{rig.info.name}' is not known: give it, a scan needs the field's size.")
    if not (rows >= 1 and columns >= 1 and 0 <= overlap_percent < 90):
        raise InputError(
            f"A grid of {rows}×{columns} fields with {overlap_percent:g} % overlap was asked for: "
            "give one field or more each way, and an overlap from 0 to below 90 %."
        )
    height, width = rig.field_um
    return GridRowsColumns(
        rows=rows, columns=columns, overlap=(overlap_percent, overlap_percent), fov_width=width, fov_height=height
    )


def scan(
    rig: Rig,
    grid: GridRowsColumns,
    *,
    focus: Callable[[], Job[Focused]] | None = None,
    plan: ZRangeAround | None = None,
) -> Job[Scan]:
    """Visit the fields of a grid, bring each into focus, and take an image or a z-stack of it; then go back.

    A field that can't be taken is left out, and the scan goes on; it ends early where a stage fails, which moves no
    more then, or two fields in a row. What was taken is returned, with what was not and why. Whoever closes the job
    before its end has what was taken in the last `SoFar`, the partial result of each field's step.

    Parameters
    ----------
    rig : Rig
        The microscope.
    grid : GridRowsColumns
        See `grid_plan`.
    focus : callable, optional
        Makes the job that brings the field under the objective into focus; None: all fields at one height.
    plan : ZRangeAround, optional
        A z-stack of each field. Where it would leave the travel limits it is taken higher or lower, just within them.

    Raises
    ------
    InputError
        If the grid leaves the x-y stage's limits, the z-stack is longer than the travel, the z stage stands beyond its
        limits, or the images do not fit into memory; nothing is moved then.
    Exception
        What went wrong first, where no field was taken at all.
    """
    with stopping(rig):
        begin, start = rig.place_um(), rig.travel().start_um
        places = _places(rig, begin, grid)
        _check_scan(rig, [begin, *places], plan)
        check_memory(rig, len(places) * (1 if plan is None else len(list(plan))))
        visit = _Visit(rig, focus, plan, len(places))
        yield from visit.every(places, start)
        if visit.safe:
            try:
                yield from visit.go(len(places), begin, start)
            except Exception as error:  # whatever a driver raises: the images are there
                rig.stop()
                visit.ended = visit.ended or f"the stages did not go back to where they stood: {_reason(error)}"
    return _joined(rig, plan, visit.fields, visit.lost, visit.ended)


def _joined(rig: Rig, plan: ZRangeAround | None, fields: Sequence[_Field], lost: Sequence[Lost], ended: str) -> Scan:
    """The fields that were taken, as one stack."""
    steps = None if plan is None else np.asarray(list(plan))
    stack = stack_from(rig, np.stack([f.data for f in fields]), "PYX" if plan is None else "PZYX", steps, plan)
    there = np.array([f.place_um for f in fields])
    return Scan(
        stack,
        there,
        np.array([rig.info.seen(place) for place in there]),
        np.array([f.height_um for f in fields]),
        tuple(f.found for f in fields),
        tuple(f.note for f in fields),
        tuple(f.number for f in fields),
        tuple(lost),
        ended,
    )


def _places(rig: Rig, begin: Place, grid: GridRowsColumns) -> list[Place]:
    """(y, x) of the stage at each field: the grid lies along the camera's axes."""
    offsets = [(known(event.y_pos), known(event.x_pos)) for event in sequence((0.0, 0.0, 0.0), grid=grid)]
    moves = [rig.info.moved(offset) for offset in offsets]
    return [(begin[0] + y, begin[1] + x) for y, x in moves]


@dataclass(frozen=True, eq=False)
class _Field:
    """A field that was taken: its place in the plan, what was seen, where the stages stood."""

    number: int
    data: NDArray[Any]
    place_um: Place
    height_um: float
    found: bool
    note: str


@dataclass(frozen=True, eq=False)
class SoFar:
    """What a scan has taken when it is done with a field.

    Attributes
    ----------
    image : (Y, X) or (Y, X, 3) array or None
        The field, the middle of its z-stack; None where it was not taken.
    cancelled : callable
        Makes the scan of what was taken so far, for whoever cancels it now.
    """

    image: NDArray[Any] | None
    cancelled: Callable[[], Scan]

    def failed(self, reason: str) -> Scan:
        """The scan of what was taken so far, for whoever sees it fail now."""
        taken = self.cancelled()
        lost = (dataclasses.replace(one, reason=ENDED) if one.reason == CANCELLED else one for one in taken.lost)
        return dataclasses.replace(taken, lost=tuple(lost), ended=reason)


@dataclass
class _Visit:
    """The visits of a scan to its fields.

    Attributes
    ----------
    safe : bool
        Whether the stages do what they are told, as far as is known.
    fields, lost : list
        Those that were taken, and those that were not.
    ended : str
        Why it ended early.
    """

    rig: Rig
    focus: Callable[[], Job[Focused]] | None
    plan: ZRangeAround | None
    total: int
    safe: bool = True
    fields: list[_Field] = field(default_factory=list)
    lost: list[Lost] = field(default_factory=list)
    ended: str = ""

    def every(self, places: list[Place], height: float) -> Job[None]:
        """Take the fields."""
        first: Exception | None = None
        for k, place in enumerate(places):
            try:
                taken = yield from self.one(k, place, height)
            except Exception as error:
                self.rig.stop()
                self.safe, first = not isinstance(error, StageError | InputError), first or error
                again = bool(self.lost) and self.lost[-1].field == k - 1
                self.lost.append(Lost(k, *place, _reason(error)))
                if again or not self.safe:
                    if not self.fields:
                        raise first from None
                    self.lost += _left(places, k + 1, ENDED)
                    self.ended = f"it ended at field {k + 1} of {self.total}: {_reason(error)}"
                    return
                if self.fields:
                    yield Progress(k + 1, self.total, f"field {k + 1} was not taken", self.so_far(places, None))
                continue
            self.fields.append(taken)
            height = taken.height_um
            shown = taken.data if self.plan is None else taken.data[len(taken.data) // 2]
            yield Progress(k + 1, self.total, f"field {k + 1} of {self.total}", self.so_far(places, shown))
        if first is not None and not self.fields:
            raise first

    def so_far(self, places: list[Place], image: NDArray[Any] | None) -> SoFar:
        """What was taken by now."""
        done = len(self.fields) + len(self.lost)
        lost = [*self.lost, *_left(places, done, CANCELLED)]
        ended = f"it was cancelled after field {done} of {self.total}"
        return SoFar(image, partial(_joined, self.rig, self.plan, tuple(self.fields), lost, ended))

    def one(self, k: int, place: Place, height: float) -> Job[_Field]:
        """Go to a field, bring it into focus, take it."""
        yield from self.go(k, place, height)  # a field before may have been left in the middle of its z-stack
        rig, found, told, name = self.rig, False, [], f"field {k + 1} of {self.total}"
        if self.focus is not None:
            result = yield from changed(
                self.focus(), lambda s: Progress(k, self.total, f"{name}: {s.message}", s.partial)
            )
            found = result.found
            told += [] if found else [f"focus not found: {result.reason}"]
        height, there = rig.height_um(), rig.place_um()
        if self.plan is None:
            return _Field(k, rig.snap(), there, height, found, "; ".join(told))
        focused, height = height, _middle_within(rig, self.plan, height)
        if height != focused:
            told.append(f"z-stack around {height:.1f} µm, not {focused:.1f} µm, to stay within the limits")
        planes, _ = yield from planes_at(
            rig, self.plan, height, lambda done, of, z: Progress(k, self.total, f"{name}: slice {done} of {of}")
        )
        return _Field(k, np.stack(planes), there, height, found, "; ".join(told))

    def go(self, k: int, place: Place, height: float) -> Job[None]:
        """Move the stages, and wait for them."""
        rig = self.rig
        way = "back to the start" if k == self.total else f"field {k + 1} of {self.total}"
        yield Progress(k, self.total, way)
        rig.start_moving_xy(*place)
        begin = time.monotonic()
        while rig.moving_xy():
            # Before the step, not after it: whoever takes the steps may take his time.
            if time.monotonic() - begin > XY_TIMEOUT_S:
                raise StageError(f"The x-y stage did not arrive within {XY_TIMEOUT_S:g} s: it was stopped.")
            yield Progress(k, self.total, f"{way}: moving to ({place[0]:.0f}, {place[1]:.0f}) µm")
            time.sleep(POLL_S)
        for z in going(rig, height, near_um=near(rig, None)):
            yield Progress(k, self.total, f"{way}: at {z:.1f} µm")


def _left(places: list[Place], begin: int, reason: str) -> list[Lost]:
    """Fields that are not visited any more, from one on."""
    return [Lost(k, *place, reason) for k, place in enumerate(places) if k >= begin]


def _runs(numbers: Sequence[int]) -> str:
    """Rising numbers in short: ``"3, 7, 17 to 39"``."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]} to {run[-1]}" for run in runs)


def _reason(error: Exception) -> str:
    """The first line of what went wrong."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _check_scan(rig: Rig, places: list[Place], plan: ZRangeAround | None) -> None:
    """Refuse a scan that can't be done within the limits."""
    beyond = [place for place in places if not rig.within_xy(*place)]
    if beyond:
        y, x = beyond[0]
        raise InputError(
            f"{len(beyond)} places of the scan lie beyond {rig.xy_limits_told}, the first at ({y:.1f}, {x:.1f}) µm: "
            "nothing was moved; take a smaller grid, or other limits."
        )
    if plan is not None:
        check_length(rig, plan)


def _middle_within(rig: Rig, plan: ZRangeAround, height_um: float) -> float:
    """The height nearest to `height_um` around which a z-stack stays within the limits."""
    (low, high), offsets = rig.limits_um, np.asarray(list(plan))
    return float(np.clip(height_um, low - offsets.min(), high - offsets.max()))
