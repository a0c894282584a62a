"""What autofocus is made of: a sensor reads images, a policy answers with moves. Pure: no clock, no stage, no camera.

A policy is a state machine written as a generator. It yields a `Move` and is sent the `Look` that was taken there; it
returns a `Verdict`. `loop.focusing` runs one on a microscope; tests run one on a formula.

Directions: a distance index or defocus above 0 means that the objective is too far from the specimen.
`Travel.toward` is the sign of the stage's motion that brings it nearer, so ``z + toward · defocus`` is in focus.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from napari_focusstack.core.errors import InputError

Phase = Literal["look", "again", "approach", "retract", "sweep", "settle", "jump", "search", "return"]
"""Why a move is made: see `Move.phase`."""

ARRIVED_DOF = 0.1
"""A stage within this many depths of field of its target has arrived."""


@dataclass(frozen=True)
class Spectrum:
    """Power of an image in K bands of spatial frequency.

    Attributes
    ----------
    power, noise : (K,) arrays
        Mean power over the square of the mean brightness, and how much of it noise makes.
    low, high : (K,) arrays
        Edges of the bands in NA/λ; the lens passes up to 2.
    waves_per_um : float
        Defocus at the pupil's edge for each µm.
    """

    power: NDArray[np.float64]
    noise: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    waves_per_um: float


@dataclass(frozen=True)
class Reading:
    """What a sensor says of an image; each kind of policy reads its own field.

    Attributes
    ----------
    index : float or None
        Distance index, -3 (much too near) over 0 (in focus) to 3 or 4 (much too far).
    defocus_um : float or None
        Signed distance from focus in µm.
    value : float or None
        Focus value, higher is sharper.
    spectrum : Spectrum or None
        Power by spatial frequency.
    certainty : float
        How much the reading is worth, 0 … 1.
    side : float
        How sure the sign is, 0 … 1: one image of a lens without aberrations does not tell it.
    evidence : bool
        Whether there is anything in the image to judge by.
    """

    index: float | None = None
    defocus_um: float | None = None
    value: float | None = None
    spectrum: Spectrum | None = None
    certainty: float = 1.0
    side: float = 1.0
    evidence: bool = True


Sensor = Callable[[NDArray[Any]], Reading]
"""Image, (Y, X) or (Y, X, 3) → `Reading`."""


@dataclass(frozen=True)
class Travel:
    """Where a policy may go, and how fine it has to be. Heights in µm on the stage's own scale.

    Attributes
    ----------
    start_um : float
        Where the stage stands.
    low_um, high_um : float
        Soft limits, both allowed.
    dof_um : float
        Total depth of field.
    toward : {1, -1}
        Sign of the motion that brings objective and specimen together.
    """

    start_um: float
    low_um: float
    high_um: float
    dof_um: float
    toward: Literal[1, -1] = 1

    def __post_init__(self) -> None:
        if not (np.isfinite([self.low_um, self.high_um]).all() and self.low_um < self.high_um):
            raise InputError(
                f"Travel limits from {self.low_um:g} to {self.high_um:g} µm were given: "
                "give two heights, the lower first."
            )
        if not self.low_um <= self.start_um <= self.high_um:
            raise InputError(
                f"The stage stands at {self.start_um:g} µm, outside the travel limits {self.low_um:g} to "
                f"{self.high_um:g} µm: nothing was moved; move it by hand, or give other limits."
            )
        if not (np.isfinite(self.dof_um) and self.dof_um > 0):
            raise InputError(f"A depth of field of {self.dof_um:g} µm was given: give a length above 0.")

    def within(self, z_um: float) -> float:
        """The height, or the limit that it lies beyond."""
        return float(min(max(z_um, self.low_um), self.high_um))

    def at_end(self, z_um: float, direction: int) -> bool:
        """Whether a stage stands at the limit that lies in this direction, as nearly as stages go."""
        room = self.high_um - z_um if direction > 0 else z_um - self.low_um
        return room <= ARRIVED_DOF * self.dof_um


@dataclass(frozen=True)
class Move:
    """Where to look next.

    Attributes
    ----------
    target_um : float
        Height; where the stage stands, for another image.
    phase : str
        ``"look"`` at the start, ``"again"`` without a move, ``"approach"`` or ``"retract"`` by the reading, ``"sweep"``
        where there is nothing to go by, ``"settle"`` within the depth of field, ``"jump"``, ``"search"`` on the curve.
    note : str
        Why, for a person.
    """

    target_um: float
    phase: Phase
    note: str = ""


@dataclass(frozen=True)
class Look:
    """What was found: the height that the stage really reached, and the reading there."""

    z_um: float
    reading: Reading


def sharpness(look: Look) -> float:
    """The focus value; images without one are the least sharp."""
    return -math.inf if look.reading.value is None else look.reading.value


@dataclass(frozen=True)
class Verdict:
    """How a policy ended.

    Attributes
    ----------
    found : bool
        Whether focus was found.
    z_um : float
        Where it is; meaningless where it was not found.
    reason : str
        A sentence for the user.
    likely_um : (float, float) or None
        Heights between which focus lies, as far as the images tell; it may lie beyond the limits.
    """

    found: bool
    z_um: float
    reason: str
    likely_um: tuple[float, float] | None = None


Moves = Generator[Move, Look, Verdict]


class Policy(Protocol):
    """Turns readings into moves."""

    @property
    def name(self) -> str:
        """The name by which a user chooses it."""
        ...

    def moves(self, travel: Travel) -> Moves:
        """Go from the start to focus; see the module."""
        ...


class Sweep:
    """Where to go with nothing to go by: to one limit, then from the start to the other.

    Parameters
    ----------
    travel : Travel
        The limits.
    direction : {1, -1}
        Which way first.
    """

    def __init__(self, travel: Travel, direction: int) -> None:
        self._travel, self.direction, self._ends = travel, direction, set[int]()

    def target(self, z_um: float, step_um: float) -> float | None:
        """The next place, `step_um` on; None once both limits were reached."""
        if self._travel.at_end(z_um, self.direction):
            self._ends.add(self.direction)
            self.direction = -self.direction
            if self.direction in self._ends:
                return None
            z_um = self._travel.start_um
        return self._travel.within(z_um + self.direction * step_um)


def first_sight(
    travel: Travel, *, step_um: float, blank: Callable[[Look], bool]
) -> Generator[Move, Look, list[Look] | Verdict]:
    """Look from limit to limit for something to judge by.

    Parameters
    ----------
    travel : Travel
        The limits.
    step_um : float
        From one image to the next.
    blank : callable
        Whether there is nothing to judge by in an image.

    Returns
    -------
    list of Look, or Verdict
        Blank images, and one that is not; or that there is none.
    """
    sweep = Sweep(travel, -travel.toward)
    looks = [(yield Move(travel.start_um, "look"))]
    while blank(looks[-1]):
        target = sweep.target(looks[-1].z_um, step_um)
        if target is None:
            empty = f"There is nothing to focus on: {len(looks)} images between the travel limits show an empty field."
            return Verdict(False, looks[-1].z_um, empty)
        looks.append((yield Move(target, "sweep", "nothing to judge by")))
    return looks
