"""HH-Net's control algorithm: the distance index sets direction and speed.

Ge, Li, Zhao and Yan 2020, Algorithm 1: until the index is 0, move at the default speed where it is 4 (totally blurred),
and at ``0.2 · default · index`` elsewhere. A stage that is sent to positions makes, between two images, the step
that it would make at that speed in the loop's latency.

Beyond the paper: the direction is the one in which all readings together put focus (`belief`), so that an index that
grows though the stage moved towards focus turns it round; overshoot near focus
halves the speed; beyond class -2 the stage
retracts at the default speed; images without evidence or certainty are passed by sweeping from limit to limit; at the
end the stage settles where the readings put focus within the depth of field.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from napari_focusstack.core.autofocus.base import Look, Move, Moves, Phase, Reading, Sweep, Travel, Verdict
from napari_focusstack.core.autofocus.belief import Belief

BLURRED = 3.5
"""From here on nothing is known but that the objective is far off (the paper's index 4)."""
TOO_NEAR = -2.5
IN_FOCUS = 0.5
SETTLED_DOF = 0.2
"""Where the readings put focus no farther than this from where the stage stands, it has settled, …"""
MOST_SETTLING = 3
"""… and after so many small steps at the latest."""
DISTANCES_DOF = ((0.0, 0.1, 0.5, 1.0, 2.0, 3.0, 4.0), (0.0, 0.4, 0.7, 1.3, 3.0, 5.0, 7.0))
"""Index, and about how many depths of field from focus it stands for; objectives differ by a factor of 2."""
LAST = 2.7
"""An index from here on may stand for any distance beyond, too."""
OVERSHOT, LEAST_DAMPING = 2.0, 0.25
"""Turning round at an index below this is overshoot, not a wrong guess of the side; the least share of the speed."""


@dataclass(frozen=True)
class Speeds:
    """How fast to go.

    Attributes
    ----------
    default_um_s : float
        Default speed of the focus motor.
    latency_s : float
        From one image to the next.
    """

    default_um_s: float
    latency_s: float

    @classmethod
    def for_depth_of_field(cls, dof_um: float, *, latency_s: float) -> Speeds:
        """So that at index 1 the stage moves by one depth of field between two images."""
        return cls(5 * dof_um / latency_s, latency_s)

    def step_um(self, index: float) -> float:
        """Length of the step at an index; never negative."""
        share = 1.0 if index >= BLURRED or index <= TOO_NEAR else min(0.2 * abs(index), 1.0)
        return self.default_um_s * self.latency_s * share


PAPER_SPEEDS = Speeds(default_um_s=223.7, latency_s=0.025)
"""As printed, for ``IndexPolicy(PAPER_SPEEDS)``: 0.2237 mm/s, an image each 25 ms."""


class _State:
    """What is remembered from image to image."""

    def __init__(self, travel: Travel) -> None:
        self.sweep, self.belief = Sweep(travel, -travel.toward), Belief(travel)
        self.direction, self.damping = 0, 1.0
        self.settled = self.doubts = self.limits = 0
        self.evidence = self.certain = False


@dataclass(frozen=True)
class IndexPolicy:
    """Algorithm 1, made safe from any start.

    Attributes
    ----------
    speeds : Speeds or None
        None: set by the depth of field.
    min_certainty : float
        Readings below this are taken once more, then passed by.
    """

    speeds: Speeds | None = None
    min_certainty: float = 0.15
    name: str = "hhnet"

    def moves(self, travel: Travel) -> Moves:
        """See `Policy.moves`."""
        speeds = self.speeds or Speeds.for_depth_of_field(travel.dof_um, latency_s=1.0)
        state = _State(travel)
        look = yield Move(travel.start_um, "look")
        while True:
            step = self._next(state, look, travel, speeds)
            if isinstance(step, Verdict):
                return step
            look = yield step

    def _next(self, state: _State, look: Look, travel: Travel, speeds: Speeds) -> Move | Verdict:
        reading = look.reading
        if not reading.evidence or reading.index is None:
            state.doubts = 0
            return self._pass_by(state, look, speeds.step_um(BLURRED), "nothing to judge by")
        state.evidence = True
        if reading.certainty < self.min_certainty:
            state.doubts += 1
            if state.doubts % 2:
                return Move(look.z_um, "again", f"certainty {reading.certainty:.2f} is too low")
            return self._pass_by(state, look, speeds.step_um(2), "certainty stays too low")
        state.doubts, state.certain = 0, True
        size = abs(reading.index)
        told = float(np.interp(size, *DISTANCES_DOF)) * travel.dof_um
        sign = travel.toward if reading.index > 0 else -travel.toward
        state.belief.add(look.z_um, sign * told, side=reading.side, at_least=size >= LAST)
        way = state.belief.best_um - look.z_um
        if size < IN_FOCUS:
            return self._settle(state, look, reading, travel, way)
        before = state.direction
        state.direction = state.belief.direction(look.z_um, before=before)
        if before == -state.direction and size < OVERSHOT:
            state.damping = max(state.damping / 2, LEAST_DAMPING)
        length = speeds.step_um(reading.index) * state.damping
        if travel.at_end(look.z_um, state.direction):
            return self._at_limit(state, look, travel, length)
        phase: Phase = "approach" if state.direction == travel.toward else "retract"
        return Move(travel.within(look.z_um + state.direction * length), phase, f"index {reading.index:+.1f}")

    def _settle(self, state: _State, look: Look, reading: Reading, travel: Travel, way_um: float) -> Move | Verdict:
        """Within the depth of field, or nearly: small steps to where the readings put focus."""
        if abs(way_um) <= SETTLED_DOF * travel.dof_um or state.settled >= MOST_SETTLING:
            return Verdict(True, look.z_um, f"Distance index {reading.index:+.1f}, certainty {reading.certainty:.2f}.")
        state.settled += 1
        step = float(np.clip(way_um, -travel.dof_um, travel.dof_um))
        return Move(travel.within(look.z_um + step), "settle", f"index {reading.index:+.1f}")

    def _at_limit(self, state: _State, look: Look, travel: Travel, length: float) -> Move | Verdict:
        """Focus lies beyond a limit, as far as the readings tell: try the other way, once."""
        state.limits += 1
        if state.limits > 1:
            return Verdict(
                False, look.z_um, f"Focus seems to lie beyond the travel limit at {look.z_um:.1f} µm: check the limits."
            )
        state.direction = -state.direction
        return Move(travel.within(look.z_um + state.direction * length), "sweep", "at the travel limit")

    def _pass_by(self, state: _State, look: Look, step_um: float, why: str) -> Move | Verdict:
        """Go on without a reading; give up where both limits were reached."""
        if state.direction:
            state.sweep.direction, state.direction = state.direction, 0
        target = state.sweep.target(look.z_um, step_um)
        if target is not None:
            return Move(target, "sweep", why)
        if not state.evidence:
            return Verdict(
                False, look.z_um, "There is nothing to focus on: the field is empty within the travel limits."
            )
        if not state.certain:
            return Verdict(False, look.z_um, "The network is not certain of any image within the travel limits.")
        return Verdict(False, look.z_um, "Focus was not found within the travel limits: widen them, or start nearer.")
