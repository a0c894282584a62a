"""Where focus may be, by all that the images said so far.

One image may not tell on which side of focus it is, and distances are wrong by some share. So every reading is kept:
each says that focus lies at its distance from where it was taken, rather on the side that it names. Two images at
different heights tell the side; a wrong distance is outvoted.
"""

from __future__ import annotations

import numpy as np

from napari_focusstack.core.autofocus.base import Travel

SPREAD_DOF, SPREAD = 0.25, 0.25
"""How wrong distances are: a share of the depth of field, and of the distance; …"""
SHORT = 2.0
"""… so many times more where they are told too short, as networks do beyond what they learned."""
CAP = 9.0
"""No reading counts more than this against a place: one may be wholly wrong."""
WRONG_SIDE, LIES, BEYOND = 2.5, 1.5, 1.5
"""What it costs a place that a sure image names the other side; that all of them do; that it lies beyond the limits."""
TURN = 1.0
"""By how much less the other way has to cost for the stage to turn round."""
GRID_DOF, MOST_PLACES = 0.05, 20001


class Belief:
    """Where focus may be: within the limits, or as far again beyond them.

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

    def add(self, z_um: float, signed_um: float, *, side: float, at_least: bool = False) -> None:
        """Weigh every place by a reading.

        Parameters
        ----------
        z_um : float
            Where it was taken.
        signed_um : float
            Motion from there that the reading asks for.
        side : float
            How sure its sign is, 0 … 1.
        at_least : bool
            Whether focus may as well be farther.
        """
        told, way = abs(signed_um), self.places_um - z_um
        miss = np.abs(way) - told
        spread = SPREAD_DOF * self._travel.dof_um + SPREAD * told * np.where(miss > 0, SHORT, 1.0)
        if at_least:
            miss = np.minimum(miss, 0)
        self._cost += np.minimum((miss / spread) ** 2, CAP)
        other = way * signed_um < 0
        self._sides += WRONG_SIDE * side * np.stack([other, ~other])

    def add_blank(self, z_um: float) -> None:
        """Nothing to judge by: not in focus, if there is anything at all."""
        self._cost += np.where(np.abs(self.places_um - z_um) < 2 * self._travel.dof_um, CAP, 0.0)

    def direction(self, z_um: float, *, before: int) -> int:
        """Which way focus is from a height: 1 or -1; `before` (or 0) stays unless the other way is clearly likelier."""
        cost = self._cost + self._sides.min(axis=0)
        above, below = cost[self.places_um > z_um].min(), cost[self.places_um < z_um].min()
        return 1 if above - below < TURN * before else -1

    @property
    def best_um(self) -> float:
        """The likeliest place; it may lie beyond the limits."""
        return float(self.places_um[(self._cost + self._sides.min(axis=0)).argmin()])
