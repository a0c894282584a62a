"""LDSE-NET's jumps: the image says how many µm to move, and the next image whether that was right.

The stage goes where all readings together put focus (`belief`), and ends where they put it within the tolerance of
where it stands. A wrong side shows in the second image and is made good by the third. Images without evidence are
passed by sweeping from limit to limit.
"""

from __future__ import annotations

from dataclasses import dataclass

from napari_focusstack.core.autofocus.base import Look, Move, Moves, Travel, Verdict, first_sight
from napari_focusstack.core.autofocus.belief import Belief

SWEEP_DOF = 5.0
NEAR_DOF = 1.25
"""Readings below this agree that the stage is in focus, …"""
ENOUGH = 4
"""… and after so many of them nothing is gained by more."""


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
        seen = yield from first_sight(travel, step_um=SWEEP_DOF * travel.dof_um, blank=_blank)
        if isinstance(seen, Verdict):
            return seen
        belief = Belief(travel)
        for blank in seen[:-1]:
            belief.add_blank(blank.z_um)
        look = seen[-1]
        read = near = contradicted = 0
        while True:
            reading = look.reading
            if reading.defocus_um is None or _blank(look):
                belief.add_blank(look.z_um)
            else:
                read += 1
                belief.add(look.z_um, travel.toward * reading.defocus_um, side=reading.side)
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


def _blank(look: Look) -> bool:
    return look.reading.defocus_um is None or not look.reading.evidence


def _lost(look: Look, belief: Belief, travel: Travel) -> str:
    if belief.best_um != travel.within(belief.best_um):
        return f"Focus seems to lie beyond the travel limit at {look.z_um:.1f} µm: check the limits."
    return "The distances that the images tell contradict each other: try another way to focus."
