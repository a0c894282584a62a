"""LDSE-NET's jumps: the image says how many µm to move, and the next image whether that was right.

Where the side of focus was guessed wrongly, the distance grows instead of vanishing, and the stage jumps back over the
start. Images without evidence are passed by sweeping from limit to limit.
"""

from __future__ import annotations

from dataclasses import dataclass

from napari_focusstack.core.autofocus.base import Look, Move, Moves, Sweep, Travel, Verdict

SWEEP_DOF = 5.0
GREW = 1.3
"""A jump after which the distance is this many times what it was went the wrong way."""


@dataclass(frozen=True)
class JumpPolicy:
    """Move by what the image says.

    Attributes
    ----------
    tolerance : float
        Distance that counts as in focus, in depths of field.
    """

    tolerance: float = 0.35
    name: str = "ldsenet"

    def moves(self, travel: Travel) -> Moves:
        """See `Policy.moves`."""
        sweep = Sweep(travel, travel.toward)
        look = yield Move(travel.start_um, "look")
        before: tuple[Look, float] | None = None
        seen, limits = False, 0
        while True:
            reading = look.reading
            if not reading.evidence or reading.defocus_um is None:
                target = sweep.target(look.z_um, SWEEP_DOF * travel.dof_um)
                if target is None:
                    return _nothing(look, seen)
                before = None
                look = yield Move(target, "sweep", "nothing to judge by")
                continue
            seen = True
            jump = travel.toward * reading.defocus_um
            if abs(jump) <= self.tolerance * travel.dof_um:
                return Verdict(True, look.z_um, f"{abs(jump):.2g} µm from focus, by the image.")
            note = f"move by {jump:+.1f} µm"
            if before is not None and abs(jump) > GREW * abs(before[1]):
                last, wrong = before
                jump, note = last.z_um - wrong - look.z_um, "the other side of the last image"
                before = None
            else:
                before = look, jump
            if travel.at_end(look.z_um, 1 if jump > 0 else -1):
                limits += 1
                if limits > 1:
                    beyond = f"Focus seems to lie beyond the travel limit at {look.z_um:.1f} µm: check the limits."
                    return Verdict(False, look.z_um, beyond)
                jump, note, before = -jump, "at the travel limit", None
            look = yield Move(travel.within(look.z_um + jump), "jump", note)


def _nothing(look: Look, seen: bool) -> Verdict:
    if seen:
        return Verdict(False, look.z_um, "Focus was not found within the travel limits: widen them, or start nearer.")
    return Verdict(False, look.z_um, "There is nothing to focus on: the field is empty within the travel limits.")
