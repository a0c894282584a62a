"""The closed loop: an image, a reading, a move, until the policy ends it. Whatever happens, the stage is stopped.

Focus not found: the stage goes back to where it stood. Cancelled (the job is closed), or anything raised: the stage is
stopped at once, where it is, and nothing moves any more.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from numpy.typing import NDArray

from napari_focusstack.core.autofocus.base import (
    ARRIVED_DOF,
    Look,
    Move,
    Moves,
    Phase,
    Policy,
    Reading,
    Sensor,
    Travel,
    Verdict,
)
from napari_focusstack.core.progress import Job, Progress

POLL_S = 0.005


class StageError(RuntimeError):
    """The stage does not do what it was told."""


class Focuser(Protocol):
    """A camera and a z stage, as the loop sees them. Heights in µm."""

    def snap(self) -> NDArray[Any]:
        """Take an image, (Y, X) or (Y, X, 3)."""
        ...

    def height_um(self) -> float:
        """Where the stage stands."""
        ...

    def start_moving(self, target_um: float) -> None:
        """Set the stage going, and return at once."""
        ...

    def moving(self) -> bool:
        """Whether the stage is on its way."""
        ...

    def stop(self) -> None:
        """Stop the stage at once."""
        ...


@dataclass(frozen=True)
class LoopSettings:
    """When to give up.

    Attributes
    ----------
    max_images : int
        Images in all.
    timeout_s : float
        Seconds in all.
    move_timeout_s : float
        Seconds in which a single move has to arrive; a stage that takes longer has stalled.
    """

    max_images: int = 60
    timeout_s: float = 60.0
    move_timeout_s: float = 10.0


@dataclass(frozen=True)
class Step:
    """One image of the loop.

    Attributes
    ----------
    number : int
        0-based.
    seconds : float
        When the reading was there, from the beginning.
    z_um : float
        Where it was taken.
    phase : str
        Why the stage had gone there, see `Move.phase`.
    note : str
        The same in words.
    reading : Reading
        What the sensor said.
    """

    number: int
    seconds: float
    z_um: float
    phase: Phase
    note: str
    reading: Reading


@dataclass(frozen=True)
class Seen:
    """The partial result of the loop's progress: a step, with its image."""

    step: Step
    image: NDArray[Any]


@dataclass(frozen=True)
class Focused:
    """How a loop ended.

    Attributes
    ----------
    policy : str
        Which policy it was.
    found : bool
        Whether focus was found.
    z_um : float
        Where the stage stands now: in focus, or where it stood at first.
    start_um : float
        Where it stood at first.
    seconds : float
        In all.
    reason : str
        A sentence for the user.
    steps : tuple of Step
        Every image.
    likely_um : (float, float) or None
        Heights between which focus lies, where the policy tells it.
    """

    policy: str
    found: bool
    z_um: float
    start_um: float
    seconds: float
    reason: str
    steps: tuple[Step, ...]
    likely_um: tuple[float, float] | None = None


def focusing(
    focuser: Focuser,
    sensor: Sensor,
    policy: Policy,
    travel: Travel,
    *,
    settings: LoopSettings | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Job[Focused]:
    """Bring the specimen into focus.

    Parameters
    ----------
    focuser : Focuser
        Camera and stage.
    sensor : Sensor
        Reads the images.
    policy : Policy
        Says where to go.
    travel : Travel
        Start, limits, depth of field. Nothing is moved beyond the limits, whatever the policy says.
    settings : LoopSettings, optional
        When to give up.
    clock : callable, optional
        Seconds; another one in tests.

    Raises
    ------
    StageError
        If the stage stalls or does not arrive.
    """
    loop = _Loop(focuser, sensor, travel, settings or LoopSettings(), clock)
    done = False
    try:
        verdict = yield from loop.follow(policy.moves(travel))
        if not verdict.found:
            yield from loop.go(travel.start_um)
        done = True
    finally:
        if not done:
            focuser.stop()
    return Focused(
        policy.name,
        verdict.found,
        focuser.height_um(),
        travel.start_um,
        clock() - loop.begin,
        verdict.reason,
        tuple(loop.steps),
        verdict.likely_um,
    )


class _Loop:
    """One run."""

    def __init__(
        self, focuser: Focuser, sensor: Sensor, travel: Travel, settings: LoopSettings, clock: Callable[[], float]
    ) -> None:
        self.focuser, self.sensor, self.travel, self.settings, self.clock = focuser, sensor, travel, settings, clock
        self.begin = clock()
        self.steps: list[Step] = []

    def follow(self, moves: Moves) -> Job[Verdict]:
        """Do what the policy says until it ends, or the images or the time run out."""
        most = self.settings.max_images
        try:
            move = next(moves)
            while True:
                if len(self.steps) >= most:
                    return Verdict(False, 0.0, f"Focus was not found with {most} images: start nearer to it.")
                if self.clock() - self.begin > self.settings.timeout_s:
                    return Verdict(False, 0.0, f"Focus was not found within {self.settings.timeout_s:g} s: gave up.")
                yield from self.go(self.travel.within(move.target_um))
                image, step = self._look(move)
                self.steps.append(step)
                yield Progress(min(len(self.steps), most), most, _said(step), Seen(step, image))
                move = moves.send(Look(step.z_um, step.reading))
        except StopIteration as end:
            verdict: Verdict = end.value
            return verdict
        finally:
            moves.close()

    def _look(self, move: Move) -> tuple[NDArray[Any], Step]:
        image = self.focuser.snap()
        z_um = self.focuser.height_um()
        reading = self.sensor(image)
        return image, Step(len(self.steps), self.clock() - self.begin, z_um, move.phase, move.note, reading)

    def go(self, target_um: float) -> Job[None]:
        """Move, and wait for the stage."""
        near, timeout = ARRIVED_DOF * self.travel.dof_um, self.settings.move_timeout_s
        for _ in going(self.focuser, target_um, near_um=near, timeout_s=timeout):
            yield Progress(len(self.steps), self.settings.max_images, f"moving to {target_um:.1f} µm")


def going(focuser: Focuser, target_um: float, *, near_um: float, timeout_s: float = 10.0) -> Iterator[float]:
    """Move, and wait for the stage; yields its height often, so that *Cancel* is heard all the time.

    Raises
    ------
    StageError
        If it does not arrive, within `near_um` and `timeout_s`. The caller stops it.
    """
    if abs(focuser.height_um() - target_um) < near_um / 100:
        return
    focuser.start_moving(target_um)
    begin = time.monotonic()
    while focuser.moving():
        # Before the step, not after it: whoever takes the steps may take his time.
        if time.monotonic() - begin > timeout_s:
            raise StageError(
                f"The stage did not reach {target_um:.1f} µm within {timeout_s:g} s: it stands at "
                f"{focuser.height_um():.1f} µm and was stopped."
            )
        yield focuser.height_um()
        time.sleep(POLL_S)
    reached = focuser.height_um()
    if abs(reached - target_um) > near_um:
        raise StageError(f"The stage was sent to {target_um:.1f} µm and stands at {reached:.1f} µm: it was stopped.")


def _said(step: Step) -> str:
    r = step.reading
    if not r.evidence:
        what = "nothing to judge by"
    elif r.index is not None:
        what = f"index {r.index:+.1f}"
    elif r.defocus_um is not None:
        what = f"{r.defocus_um:+.1f} µm from focus"
    else:
        what = "" if r.value is None else f"sharpness {r.value:.4g}"
    return f"{step.z_um:.1f} µm: {what}"
