"""HH-Net's control algorithm: the distance index sets direction and speed.

Ge, Li, Zhao and Yan 2020, Algorithm 1: until the index is 0, move at the default speed where it is 4 (totally blurred),
and at ``0.2 · default · index`` elsewhere. A stage that is sent to positions makes, between two images, the step
that it would make at that speed in the loop's latency.

Beyond the paper: an index that grows though the stage moved towards focus turns it round, and overshoot near focus
halves the speed; beyond class -2 the stage retracts at the default speed; images without evidence or certainty are
passed by sweeping from limit to limit; at the end the stage settles within the depth of field by the index's fraction.
"""

from __future__ import annotations

from dataclasses import dataclass

from napari_focusstack.core.autofocus.base import Look, Move, Moves, Reading, Sweep, Travel, Verdict

BLURRED = 3.5
"""From here on nothing is known but that the objective is far off (the paper's index 4)."""
TOO_NEAR = -2.5
IN_FOCUS = 0.5
SETTLED = 0.25
GREW = 0.25
"""A change of the index that is more than noise."""
SURE = 0.5
"""Where the image tells the side at least this surely, it is believed."""
OVERSHOT = 2.0
"""A turn at an index below this is overshoot, not a wrong guess of the side."""


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

    @classmethod
    def paper(cls) -> Speeds:
        """0.2237 mm/s and 25 ms, as printed: steps of 1.1 µm at index 1."""
        return cls(223.7, 0.025)

    def step_um(self, index: float) -> float:
        """Length of the step at an index; never negative."""
        share = 1.0 if index >= BLURRED or index <= TOO_NEAR else min(0.2 * abs(index), 1.0)
        return self.default_um_s * self.latency_s * share


@dataclass
class _State:
    """What is remembered from image to image."""

    sweep: Sweep
    last: tuple[float, float] | None = None
    direction: int = 0
    damping: float = 1.0
    settled: int = 0
    doubts: int = 0
    evidence: bool = False
    certain: bool = False
    trust: bool = True
    limits: int = 0


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
        state = _State(Sweep(travel, travel.toward))
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
        if size <= SETTLED or (size < IN_FOCUS and state.settled >= 2):
            return Verdict(True, look.z_um, f"Distance index {reading.index:+.1f}, certainty {reading.certainty:.2f}.")
        turned = self._turn(state, look, reading, travel)
        if turned and size < OVERSHOT:
            state.damping = max(state.damping / 2, 0.125)
        state.last = (look.z_um, size)
        if size < IN_FOCUS:
            state.settled += 1
            phase, length = "settle", size * travel.dof_um * state.damping
        else:
            phase = "approach" if state.direction == travel.toward else "retract"
            length = speeds.step_um(reading.index) * state.damping
        if travel.at_end(look.z_um, state.direction):
            return self._at_limit(state, look, travel, length)
        return Move(travel.within(look.z_um + state.direction * length), phase, f"index {reading.index:+.1f}")  # type: ignore[arg-type]

    def _turn(self, state: _State, look: Look, reading: Reading, travel: Travel) -> bool:
        """Choose the direction; True where the stage turns round.

        Farther from focus than before, the way back is right, whatever the image says of its side; where an image was
        sure of the other one, sides are not believed again. Otherwise they are where they are sure, and if not, the
        direction is kept.
        """
        assert reading.index is not None
        before = state.direction
        by_image = travel.toward if reading.index > 0 else -travel.toward
        grew = state.last is not None and abs(reading.index) > state.last[1] + GREW and look.z_um != state.last[0]
        if grew and state.last is not None:
            state.direction = 1 if state.last[0] > look.z_um else -1
            state.trust &= state.direction == by_image
        elif before == 0 or (state.trust and reading.side >= SURE):
            state.direction = by_image
        return before != 0 and state.direction != before

    def _at_limit(self, state: _State, look: Look, travel: Travel, length: float) -> Move | Verdict:
        """Focus lies beyond a limit, as far as the readings tell: try the other way, once."""
        state.limits += 1
        if state.limits > 1:
            return Verdict(
                False, look.z_um, f"Focus seems to lie beyond the travel limit at {look.z_um:.1f} µm: check the limits."
            )
        state.trust, state.direction = False, -state.direction
        return Move(travel.within(look.z_um + state.direction * length), "sweep", "at the travel limit")

    def _pass_by(self, state: _State, look: Look, step_um: float, why: str) -> Move | Verdict:
        """Go on without a reading; give up where both limits were reached."""
        if state.direction:
            state.sweep.direction, state.direction = state.direction, 0
        state.last = None
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
