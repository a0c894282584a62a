"""The jobs of *Microscope*: each makes a generator that runs in a worker's thread, where the imports belong."""

from __future__ import annotations

import contextlib
import threading
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

from napari_focusstack.core.autofocus import Focused
from napari_focusstack.core.autofocus.methods import FocusMethod
from napari_focusstack.core.errors import InputError
from napari_focusstack.core.progress import Job, Progress, changed
from napari_focusstack.widgets.microscope_form import Wanted

if TYPE_CHECKING:
    from napari_focusstack.microscope.rig import Rig
    from napari_focusstack.microscope.scan import Scan, SoFar

T = TypeVar("T")
LIVE_PAUSE_S = 0.05
"""Between live images, at least."""


@dataclass(frozen=True, eq=False)
class Placed:
    """What a job shows or returns, and where the x-y stage stood: (y, x) in µm along the camera's axes.

    Stages are asked in the worker's thread: they may take their time.
    """

    partial: Any
    place_um: tuple[float, float]

    @classmethod
    def of(cls, partial: Any, rig: Rig) -> Placed:
        """At the stage's place of now; pixels have none where their size is not known."""
        with rig.held():
            return cls(partial, rig.info.seen(rig.place_um()) if rig.info.pixel_um else (0.0, 0.0))


def _placed(rig: Rig, job: Job[T]) -> Job[T]:
    """The job; its partial results become `Placed`."""
    return changed(job, lambda s: s if s.partial is None else replace(s, partial=Placed.of(s.partial, rig)))


class Connecting:
    """Makes the job that connects a microscope."""

    def __init__(self, wanted: Wanted) -> None:
        self.wanted = wanted

    def __call__(self) -> Job[Rig]:
        """Run in the worker's thread, where the imports belong."""
        w = self.wanted
        if w.limits_um is None:
            raise InputError(
                "No travel limits were given, and nothing is moved without them: "
                "give both, in µm on the stage's own scale."
            )
        yield Progress(0, 1, "connecting")
        if w.config is None:
            from napari_focusstack.microscope.demo import connect_demo

            rig = connect_demo(limits_um=w.limits_um)
        else:
            from napari_focusstack.microscope.rig import connect

            rig = connect(w.config, limits_um=w.limits_um, optics=w.optics, pixel_um=w.pixel_um, toward=w.toward)
        rig.y_limits_um, rig.x_limits_um = w.y_limits_um, w.x_limits_um
        try:
            yield Progress(1, 1, "connected")
        except GeneratorExit:
            rig.disconnect()
            raise
        return rig


class Disconnecting:
    """Makes the job that stops a microscope and lets go of it."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig

    def __call__(self) -> Job[None]:
        """Run in the worker's thread; all at once, as the widget that asked may be closed before a first step."""
        self.rig.disconnect()
        return (step for step in (Progress(1, 1, "disconnected"),))


class Live:
    """Makes the job that shows what the camera sees.

    Attributes
    ----------
    shown : Event
        Set it once an image is on the screen: the next one is taken then, so that none pile up.
    """

    def __init__(self, rig: Rig) -> None:
        self.rig, self.shown = rig, threading.Event()

    def __call__(self) -> Job[None]:
        """Run in the worker's thread."""
        from napari_focusstack.microscope.acquire import live

        with contextlib.closing(_placed(self.rig, live(self.rig))) as images:
            for step in images:
                self.shown.clear()
                yield step
                time.sleep(LIVE_PAUSE_S)
                while not self.shown.wait(LIVE_PAUSE_S):
                    yield Progress(step.done, step.total, step.message)


class Focusing:
    """Makes the job of *Autofocus*."""

    def __init__(self, rig: Rig, method: FocusMethod) -> None:
        self.rig, self.method = rig, method

    def __call__(self) -> Job[Focused]:
        """Run in the worker's thread."""
        from napari_focusstack.microscope.autofocus import autofocus

        return _placed(self.rig, autofocus(self.rig, self.method))


class Taking:
    """Makes the job of *Take z-stack*."""

    def __init__(self, rig: Rig, range_um: float, step_um: float) -> None:
        self.rig, self.range_um, self.step_um = rig, range_um, step_um

    def __call__(self) -> Job[Placed]:
        """Run in the worker's thread."""
        from napari_focusstack.microscope.acquire import z_plan, z_stack

        stack = yield from z_stack(self.rig, z_plan(self.range_um, self.step_um))
        return Placed.of(stack, self.rig)


class Scanning:
    """Makes the job of *Scan*.

    Attributes
    ----------
    so_far : SoFar or None
        What it has taken, at once: steps wait for the main thread, and those that wait at *Cancel* never arrive.
    """

    def __init__(
        self,
        rig: Rig,
        grid: tuple[int, int, float],
        method: FocusMethod | None,
        plan: tuple[float, float] | None,
    ) -> None:
        self.rig, self.grid, self.method, self.plan = rig, grid, method, plan
        self.so_far: SoFar | None = None

    def __call__(self) -> Job[Scan]:
        """Run in the worker's thread."""
        from napari_focusstack.microscope.acquire import z_plan
        from napari_focusstack.microscope.scan import grid_plan, scan

        rows, columns, overlap = self.grid
        grid = grid_plan(self.rig, rows=rows, columns=columns, overlap_percent=overlap)
        plan = None if self.plan is None else z_plan(*self.plan)
        focus = None if self.method is None else self._focus
        return _placed(self.rig, changed(scan(self.rig, grid, focus=focus, plan=plan), self._noted))

    def _noted(self, step: Progress) -> Progress:
        from napari_focusstack.microscope.scan import SoFar

        if isinstance(step.partial, SoFar):
            self.so_far = step.partial
        return step

    def _focus(self) -> Job[Focused]:
        from napari_focusstack.microscope.autofocus import autofocus

        assert self.method is not None
        return autofocus(self.rig, self.method)
