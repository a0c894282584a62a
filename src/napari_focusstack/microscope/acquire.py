"""Z-stacks by useq plans: straight into a calibrated `Stack`; what scans share with them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray
from useq import MDAEvent, MDASequence, Position, ZRangeAround

from napari_focusstack.core.autofocus import going
from napari_focusstack.core.errors import InputError
from napari_focusstack.core.progress import Job, Progress
from napari_focusstack.core.stack import Stack
from napari_focusstack.microscope.rig import Rig

ROUNDING_UM = 1e-6
MOST_MEMORY = 0.5
"""Share of the free memory that images may take: for a moment they are there twice."""


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


def go_to(rig: Rig, height_um: float) -> Job[None]:
    """Move the z stage.

    Raises
    ------
    InputError
        If the height lies beyond the travel limits, or the stage stands beyond them; nothing is moved then.
    """
    _check_limits(rig, height_um, height_um)
    with stopping(rig):
        rig.travel()  # refuses a stage that stands beyond its limits
        for z in going(rig, height_um, near_um=near(rig, None)):
            yield Progress(0, 1, f"moving to {height_um:.1f} µm, at {z:.1f} µm")


def z_stack(rig: Rig, plan: ZRangeAround) -> Job[Stack]:
    """Take a z-stack around where the stage stands; then the stage goes back there.

    Raises
    ------
    InputError
        If the plan leaves the travel limits, or its images do not fit into memory; nothing is moved then.
    """
    with stopping(rig):
        check_memory(rig, len(list(plan)))
        begin = rig.height_um()
        planes, heights = yield from planes_at(rig, plan, begin, lambda k, n, z: Progress(k, n, f"{z:.1f} µm"))
    return stack_from(rig, np.stack(planes), "ZYX", heights, plan)


def live(rig: Rig) -> Job[None]:
    """Images until it is closed, each as the partial result. Moves nothing."""
    count = 0
    while True:
        with rig.held():
            image, height = rig.snap(), rig.height_um()
        count += 1
        yield Progress(count, count, f"{height:.1f} µm", image)


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


def check_memory(rig: Rig, images: int) -> None:
    """Refuse images that would not fit, before they are taken."""
    needed, free = images * rig.image_bytes, psutil.virtual_memory().available
    if needed > MOST_MEMORY * free:
        raise InputError(
            f"{images} images take {needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB of memory are free, of which "
            f"{MOST_MEMORY:.0%} can be used: nothing was moved; take fewer fields or slices, or a part of the camera."
        )


def sequence(place: tuple[float, float, float], **plans: Any) -> Iterator[MDAEvent]:
    """useq's events of a plan, absolute, around a place (x, y, z)."""
    x, y, z = place
    return iter(MDASequence(stage_positions=[Position(x=x, y=y, z=z)], **{f"{k}_plan": v for k, v in plans.items()}))


def known(value: float | None) -> float:
    """A place of a plan's event; it is refused where the plan leaves it open."""
    if value is None:
        raise InputError("The plan leaves a place open: give one with places.")
    return value


@contextlib.contextmanager
def stopping(rig: Rig) -> Iterator[None]:
    """Hold the rig; stop the stages if anything goes wrong, or the job is cancelled."""
    with rig.held():
        try:
            yield
        except BaseException:
            rig.stop()
            raise


def planes_at(
    rig: Rig, plan: ZRangeAround, around_um: float, say: Callable[[int, int, float], Progress]
) -> Job[tuple[list[NDArray[Any]], NDArray[np.float64]]]:
    """Images of a z plan, and their heights; then back."""
    y, x = rig.place_um()
    heights = np.array([known(event.z_pos) for event in sequence((x, y, around_um), z=plan)])
    _check_limits(rig, float(heights.min()), float(heights.max()))
    heights = np.clip(heights, *rig.limits_um)  # rounding
    planes = []
    for k, z in enumerate(heights):
        for _ in going(rig, float(z), near_um=near(rig, plan)):
            yield say(k, len(heights), z)
        planes.append(rig.snap())
        yield say(k + 1, len(heights), z)
    for _ in going(rig, around_um, near_um=near(rig, plan)):
        yield say(len(heights), len(heights), around_um)
    return planes, heights


def _check_limits(rig: Rig, lowest: float, highest: float) -> None:
    low, high = rig.limits_um
    if lowest < low - ROUNDING_UM or highest > high + ROUNDING_UM:
        told, instead = f"from {lowest:.1f} to {highest:.1f} µm", "take a smaller range, or other limits"
        if lowest == highest:
            told, instead = f"to {lowest:.1f} µm", "give a height between them, or other limits"
        raise InputError(
            f"The stage would go {told}, beyond the travel limits {low:g} to {high:g} µm: nothing was moved; {instead}."
        )


def near(rig: Rig, plan: ZRangeAround | None) -> float:
    """How near to its target the stage has to come."""
    return 0.2 * plan.step if plan is not None else 0.1 * rig.info.depth_of_field_um


def stack_from(
    rig: Rig, data: NDArray[Any], axes: str, heights: NDArray[np.float64] | None, plan: ZRangeAround | None
) -> Stack:
    """The images as a stack, calibrated; `heights` in µm where there is one for each slice."""
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
