"""LDSE-NET's jumps: the image says how many µm to move, and the next image whether that was right.

One image may not tell on which side of focus it is, and distances are wrong by some share. So every reading is kept:
each says that focus lies at its distance from where it was taken, rather on the side that it names. The stage goes
where all of them together put focus, and ends where they put it within the tolerance of where it stands. A wrong side
shows in the second image and is made good by the third. Images without evidence are passed by sweeping from limit to
limit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from napari_focusstack.core.autofocus.base import Look, Move, Moves, Sweep, Travel, Verdict

SWEEP_DOF = 5.0
SPREAD_DOF, SPREAD = 0.25, 0.25
"""How wrong distances are: a share of the depth of field, and of the distance; …"""
SHORT = 2.0
"""… so many times more where they are told too short, as networks do beyond what they learned."""
CAP = 9.0
"""No reading counts more than this against a place: one may be wholly wrong."""
WRONG_SIDE, LIES, BEYOND = 2.5, 1.5, 1.5
"""What it costs a place that a sure image names the other side; that all of them do; that it lies beyond the limits."""
NEAR_DOF = 1.25
"""Readings below this agree that the stage is in focus, …"""
ENOUGH = 4
"""… and after so many of them nothing is gained by more."""
GRID_DOF, MOST_PLACES = 0.05, 20001


class Belief:
    """Where focus may be, by all readings so far: within the limits, or as far again beyond them.

    The sides that images name are believed or, where that fits better, taken for the wrong way round, all of them.

    Parameters
    ----------
    travel : Travel
        The limits.
    """

    def __init__(self, travel: Travel) -> None:
        self._travel = travel
        reach = travel.high_um - travel.low_um
        count = 2 + int(3 * reach / (GRID_DOF * travel.dof_um))
        self.places_um = np.linspace(travel.low_um - reach, travel.high_um + reach, min(count, MOST_PLACES))
        outside = (self.places_um < travel.low_um) | (self.places_um > travel.high_um)
        self._cost = np.where(outside, BEYOND, 0.0)
        self._sides = np.zeros((2, len(self.places_um)))
        self._sides[1] = LIES

    def add(self, look: Look) -> None:
        """Weigh every place by a reading with a distance."""
        travel, reading = self._travel, look.reading
        assert reading.defocus_um is not None
        told = abs(reading.defocus_um)
        way = self.places_um - look.z_um
        miss = np.abs(way) - told
        spread = SPREAD_DOF * travel.dof_um + SPREAD * told * np.where(miss > 0, SHORT, 1.0)
        self._cost += np.minimum((miss / spread) ** 2, CAP)
        other = way * travel.toward * reading.defocus_um < 0
        self._sides += WRONG_SIDE * reading.side * np.stack([other, ~other])

    def add_blank(self, look: Look) -> None:
        """Nothing to judge by: not in focus, if there is anything at all."""
        self._cost += np.where(np.abs(self.places_um - look.z_um) < 2 * self._travel.dof_um, CAP, 0.0)

    @property
    def best_um(self) -> float:
        """The likeliest place."""
        return float(self.places_um[(self._cost + self._sides.min(axis=0)).argmin()])


@dataclass(frozen=True)
class JumpPolicy:
    """Go where all readings together put focus.

    Attributes
    ----------
    tolerance : float
        Distance that counts as in focus, in depths of field.
    """

    tolerance: float = 0.3
    name: str = "ldsenet"

    def moves(self, travel: Travel) -> Moves:
        """See `Policy.moves`."""
        sweep, belief = Sweep(travel, travel.toward), Belief(travel)
        look = yield Move(travel.start_um, "look")
        read = near = contradicted = 0
        while True:
            reading = look.reading
            if not reading.evidence or reading.defocus_um is None:
                belief.add_blank(look)
                if not read:
                    target = sweep.target(look.z_um, SWEEP_DOF * travel.dof_um)
                    if target is None:
                        empty = "There is nothing to focus on: the field is empty within the travel limits."
                        return Verdict(False, look.z_um, empty)
                    look = yield Move(target, "sweep", "nothing to judge by")
                    continue
            else:
                read += 1
                belief.add(look)
                agrees = abs(reading.defocus_um) <= NEAR_DOF * travel.dof_um
                near += agrees
                best = travel.within(belief.best_um)
                here = abs(best - look.z_um) <= self.tolerance * travel.dof_um
                if agrees and (here or near >= ENOUGH):
                    said = f"{abs(reading.defocus_um):.2g} µm from focus by this image, {read} images agree."
                    return Verdict(True, look.z_um, said)
                if here:
                    contradicted += 1
                    if contradicted > 1:
                        return Verdict(False, look.z_um, _lost(look, belief, travel))
            target = travel.within(belief.best_um)
            look = yield Move(target, "jump", f"move by {target - look.z_um:+.1f} µm")


def _lost(look: Look, belief: Belief, travel: Travel) -> str:
    if belief.best_um != travel.within(belief.best_um):
        return f"Focus seems to lie beyond the travel limit at {look.z_um:.1f} µm: check the limits."
    return "The distances that the images tell contradict each other: try another way to focus."
