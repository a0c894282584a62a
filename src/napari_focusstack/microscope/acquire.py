"""Z-stacks and scans by useq plans: straight into a calibrated `Stack`."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray
from useq import GridRowsColumns, MDAEvent, MDASequence, Position, ZRangeAround

from napari_focusstack.core.autofocus import Focused, StageError, going
from napari_focusstack.core.errors import InputError
from napari_focusstack.core.progress import Job, Progress
from napari_focusstack.core.stack import Stack
from napari_focusstack.microscope.rig import Rig

XY_TIMEOUT_S = 30.0
POLL_S = 0.005
ROUNDING_UM = 1e-6
MOST_MEMORY = 0.5
"""Share of the free memory that images may take: for a moment they are there twice."""


@dataclass(frozen=True, eq=False)
class Scan:
    """A grid of fields.

    Attributes
    ----------
    stack : Stack
        (P, Y, X), or (P, Z, Y, X) with a z plan; a position is a field, in the order in which they were visited.
    places_um : (P, 2) float64
        (y, x) of the stage at each.
    heights_um : (P,) float64
        Of the stage at each, the middle of its z-stack: in focus where that was found, else where it was found last.
    found : tuple of bool
        Whether each was brought into focus.
    notes : tuple of str
        What went another way than planned in each, and why; empty where nothing did.
    """

    stack: Stack
    places_um: NDArray[np.float64]
    heights_um: NDArray[np.float64]
    found: tuple[bool, ...]
    notes: tuple[str, ...]

    def mosaic(self) -> Stack:
        """The fields side by side, where the stage saw them.

        Later fields lie over earlier ones; nothing is stitched. Of z-stacks the middle slice is taken.
        """
        stack = self.stack
        offsets = np.round((self.places_um - self.corner_um) / (stack.y_um or 1.0)).astype(int)
        h, w = stack.plane_shape
        image = np.zeros((*(offsets.max(axis=0) + np.array((h, w))), *((3,) if stack.is_rgb else ())), stack.dtype)
        for p, (y, x) in enumerate(offsets):
            image[y : y + h, x : x + w] = stack.plane(stack.n_slices // 2, p=p)
        axes = "YXS" if stack.is_rgb else "YX"
        return dataclasses.replace(stack, data=image, axes=axes, name="mosaic", z_um=None, z_positions_um=None)

    @property
    def corner_um(self) -> NDArray[np.float64]:
        """(y, x) of the stage at the mosaic's first pixel's field."""
        corner: NDArray[np.float64] = self.places_um.min(axis=0)
        return corner


def z_plan(range_um: float, step_um: float) -> ZRangeAround:
    """Even steps over a range around focus.

    Raises
    ------
    InputError
        If they are no lengths, or there are too many steps.
    """
    if not (step_um > 0 and range_um >= step_um and range_um / step_um <= 5000):
        raise InputError(
            f"A z-stack of {range_um:g} µm in steps of {step_um:g} µm was asked for: "
            "give a step above 0 and a range of one step or more."
        )
    return ZRangeAround(range=range_um, step=step_um)


def grid_plan(rig: Rig, *, rows: int, columns: int, overlap_percent: float = 0.0) -> GridRowsColumns:
    """A grid of the camera's fields around where the stage stands, in a snake.

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


def go_to(rig: Rig, height_um: float) -> Job[None]:
    """Move the z stage.

    Raises
    ------
    InputError
        If the height lies beyond the travel limits, or the stage stands beyond them; nothing is moved then.
    """
    _check_limits(rig, height_um, height_um)
    with _stopping(rig):
        rig.travel()  # refuses a stage that stands beyond its limits
        for z in going(rig, height_um, near_um=_near(rig, None)):
            yield Progress(0, 1, f"moving to {height_um:.1f} µm, at {z:.1f} µm")


def z_stack(rig: Rig, plan: ZRangeAround) -> Job[Stack]:
    """Take a z-stack around where the stage stands; then the stage goes back there.

    Raises
    ------
    InputError
        If the plan leaves the travel limits, or its images do not fit into memory; nothing is moved then.
    """
    with _stopping(rig):
        _check_memory(rig, len(list(plan)))
        begin = rig.height_um()
        planes, heights = yield from _planes(rig, plan, begin, lambda k, n, z: Progress(k, n, f"{z:.1f} µm"))
    return _stack(rig, np.stack(planes), "ZYX", heights, plan)


def live(rig: Rig) -> Job[None]:
    """Images until it is closed, each as the partial result. Moves nothing."""
    count = 0
    while True:
        with rig.held():
            image, height = rig.snap(), rig.height_um()
        count += 1
        yield Progress(count, count, f"{height:.1f} µm", image)


def scan(
    rig: Rig,
    grid: GridRowsColumns,
    *,
    focus: Callable[[], Job[Focused]] | None = None,
    plan: ZRangeAround | None = None,
) -> Job[Scan]:
    """Visit the fields of a grid, bring each into focus, and take an image or a z-stack of it; then go back.

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
    """
    with _stopping(rig):
        y0, x0 = rig.place_um()
        height = start = rig.travel().start_um
        places = [(_known(e.y_pos), _known(e.x_pos)) for e in _sequence((x0, y0, height), grid=grid)]
        _check_scan(rig, [(y0, x0), *places], plan)
        _check_memory(rig, len(places) * (1 if plan is None else len(list(plan))))
        images, z_of, found, notes = [], [], [], []
        for k, (y, x) in enumerate(places):
            yield Progress(k, len(places), f"field {k + 1} of {len(places)}")
            yield from _moving_xy(rig, y, x, k, len(places))
            ok, told = False, []
            if focus is not None:
                result = yield from _as_part(focus(), k, len(places))
                ok = result.found
                told += [] if ok else [f"focus not found: {result.reason}"]
            height = rig.height_um()
            if plan is None:
                images.append(rig.snap())
            else:
                focused, height = height, _middle_within(rig, plan, height)
                if height != focused:
                    told.append(f"z-stack around {height:.1f} µm, not {focused:.1f} µm, to stay within the limits")
                planes, _ = yield from _planes(rig, plan, height, _part_of(k, len(places)))
                images.append(np.stack(planes))
            z_of.append(height)
            found.append(ok)
            notes.append("; ".join(told))
            shown = images[-1] if plan is None else images[-1][len(images[-1]) // 2]
            yield Progress(k + 1, len(places), f"field {k + 1} of {len(places)}", shown)
        yield from _moving_xy(rig, y0, x0, len(places), len(places))
        yield from _moving_z(rig, start, len(places), len(places))
    axes = "PYX" if plan is None else "PZYX"
    steps = None if plan is None else np.asarray(list(plan))
    stack = _stack(rig, np.stack(images), axes, steps, plan)
    return Scan(stack, np.array(places), np.array(z_of), tuple(found), tuple(notes))


def _check_scan(rig: Rig, places: list[tuple[float, float]], plan: ZRangeAround | None) -> None:
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


def check_length(rig: Rig, plan: ZRangeAround) -> None:
    """Refuse a z-stack that fits between the travel limits nowhere.

    Raises
    ------
    InputError
        If it does not.
    """
    low, high = rig.limits_um
    if plan.range > high - low:
        raise InputError(
            f"A z-stack of {plan.range:g} µm does not fit between the travel limits {low:g} to {high:g} µm: "
            "nothing was moved; take a smaller range, or other limits."
        )


def _check_memory(rig: Rig, images: int) -> None:
    """Refuse images that would not fit, before they are taken."""
    needed, free = images * rig.image_bytes, psutil.virtual_memory().available
    if needed > MOST_MEMORY * free:
        raise InputError(
            f"{images} images take {needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB of memory are free, of which "
            f"{MOST_MEMORY:.0%} can be used: nothing was moved; take fewer fields or slices, or a part of the camera."
        )


def _middle_within(rig: Rig, plan: ZRangeAround, height_um: float) -> float:
    """The height nearest to `height_um` around which a z-stack stays within the limits."""
    (low, high), offsets = rig.limits_um, np.asarray(list(plan))
    return float(np.clip(height_um, low - offsets.min(), high - offsets.max()))


def _sequence(place: tuple[float, float, float], **plans: Any) -> Iterator[MDAEvent]:
    """useq's events of a plan, absolute, around a place (x, y, z)."""
    x, y, z = place
    return iter(MDASequence(stage_positions=[Position(x=x, y=y, z=z)], **{f"{k}_plan": v for k, v in plans.items()}))


def _known(value: float | None) -> float:
    if value is None:
        raise InputError("The plan leaves a place open: give one with places.")
    return value


@contextlib.contextmanager
def _stopping(rig: Rig) -> Iterator[None]:
    """Hold the rig; stop the stages if anything goes wrong, or the job is cancelled."""
    with rig.held():
        try:
            yield
        except BaseException:
            rig.stop()
            raise


def _planes(
    rig: Rig, plan: ZRangeAround, around_um: float, say: Callable[[int, int, float], Progress]
) -> Job[tuple[list[NDArray[Any]], NDArray[np.float64]]]:
    """Images of a z plan, and their heights; then back."""
    y, x = rig.place_um()
    heights = np.array([_known(event.z_pos) for event in _sequence((x, y, around_um), z=plan)])
    _check_limits(rig, float(heights.min()), float(heights.max()))
    heights = np.clip(heights, *rig.limits_um)  # rounding
    planes = []
    for k, z in enumerate(heights):
        for _ in going(rig, float(z), near_um=_near(rig, plan)):
            yield say(k, len(heights), z)
        planes.append(rig.snap())
        yield say(k + 1, len(heights), z)
    for _ in going(rig, around_um, near_um=_near(rig, plan)):
        yield say(len(heights), len(heights), around_um)
    return planes, heights


def _check_limits(rig: Rig, lowest: float, highest: float) -> None:
    low, high = rig.limits_um
    if lowest < low - ROUNDING_UM or highest > high + ROUNDING_UM:
        raise InputError(
            f"The stage would go from {lowest:.1f} to {highest:.1f} µm, beyond the travel limits "
            f"{low:g} to {high:g} µm: nothing was moved; take a smaller range, or other limits."
        )


def _near(rig: Rig, plan: ZRangeAround | None) -> float:
    """How near to its target the stage has to come."""
    return 0.2 * plan.step if plan is not None else 0.1 * rig.info.depth_of_field_um


def _part_of(k: int, n: int) -> Callable[[int, int, float], Progress]:
    return lambda done, total, z: Progress(k, n, f"field {k + 1} of {n}: slice {done} of {total}")


def _as_part(job: Job[Focused], k: int, n: int) -> Job[Focused]:
    while True:
        try:
            step = next(job)
        except StopIteration as end:
            result: Focused = end.value
            return result
        except BaseException:
            job.close()
            raise
        yield Progress(k, n, f"field {k + 1} of {n}: {step.message}", step.partial)


def _moving_z(rig: Rig, z_um: float, k: int, n: int) -> Job[None]:
    for _ in going(rig, z_um, near_um=_near(rig, None)):
        yield Progress(k, n, "back to the start")


def _moving_xy(rig: Rig, y_um: float, x_um: float, k: int, n: int) -> Job[None]:
    rig.start_moving_xy(y_um, x_um)
    begin = time.monotonic()
    while rig.moving_xy():
        yield Progress(k, n, f"moving to ({y_um:.0f}, {x_um:.0f}) µm")
        if time.monotonic() - begin > XY_TIMEOUT_S:
            raise StageError(f"The x-y stage did not arrive within {XY_TIMEOUT_S:g} s: it was stopped.")
        time.sleep(POLL_S)


def _stack(
    rig: Rig, data: NDArray[Any], axes: str, heights: NDArray[np.float64] | None, plan: ZRangeAround | None
) -> Stack:
    pixel = rig.info.pixel_um
    return Stack(
        data,
        axes + ("S" if data.ndim > len(axes) else ""),
        name=rig.info.name,
        y_um=pixel,
        x_um=pixel,
        z_um=None if plan is None else plan.step,
        z_positions_um=None if heights is None or len(heights) < 2 else tuple(float(z) for z in heights),
        axes_note="acquired",
        optics=rig.info.optics,
    )
