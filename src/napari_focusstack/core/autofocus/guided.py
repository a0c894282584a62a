"""A network leads near focus, measured sharpness ends it: the one knows how far, the other which of two is sharper.

A network's distance is wrong by some share, its side is often a guess, and near focus it may contradict itself. So its
policy is followed while the images get sharper, for a few images at most; from there the stage climbs to where
sharpness is highest. Where that does not end, or nothing stands out, the classical search looks everywhere between the
limits. No network's word is the last: the stage ends at the sharpest of the images, or it is said that there is none.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace

from napari_focusstack.core.autofocus.base import Look, Move, Moves, Policy, Travel, Verdict, first_sight, sharpness
from napari_focusstack.core.autofocus.climb import climb
from napari_focusstack.core.autofocus.search import CurvePolicy, stands_out

SIGHTS = 8
"""Blank images from one limit to the other, at most about, before a field is called empty."""
LEAST_SWEEP_DOF = 5.0
STEP_DOF = 1.5
"""First step past the sharpest image, where the network has led."""


@dataclass(frozen=True)
class GuidedPolicy:
    """Follow a network's policy while that makes images sharper, then climb.

    Attributes
    ----------
    guide : Policy
        The network's.
    tolerance : float
        Heights nearer than this to each other are one, in depths of field.
    most_guided : int
        Images for which the guide is asked.
    most_images : int
        After so many the classical search takes over.
    """

    guide: Policy
    tolerance: float = 0.25
    most_guided: int = 3
    most_images: int = 16

    @property
    def name(self) -> str:
        """The guide's."""
        return self.guide.name

    def moves(self, travel: Travel) -> Moves:
        """See `Policy.moves`."""
        far = max(LEAST_SWEEP_DOF * travel.dof_um, (travel.high_um - travel.low_um) / SIGHTS)
        seen = yield from first_sight(travel, step_um=far, blank=_blank)
        if isinstance(seen, Verdict):
            return seen
        looks = yield from self._led(seen, travel)
        fine, step = self.tolerance * travel.dof_um, STEP_DOF * travel.dof_um
        if max(abs(look.z_um - looks[-1].z_um) for look in looks) < fine:
            here = looks[-1].z_um
            aside = travel.within(here - travel.toward * step)
            if abs(aside - here) < fine:
                aside = travel.within(here + travel.toward * step)
            looks.append((yield Move(aside, "search", "beside the first image")))
        climbed = yield from climb(looks, travel, fine_um=fine, most=self.most_images, step_um=step)
        if climbed.found and stands_out(looks):
            return climbed
        return (yield from CurvePolicy(self.tolerance, self.name).moves(travel))

    def _led(self, looks: list[Look], travel: Travel) -> Generator[Move, Look, list[Look]]:
        """The images so far, and those along the guide's way from the last one."""
        guided = self.guide.moves(replace(travel, start_um=travel.within(looks[-1].z_um)))
        next(guided)
        for _ in range(self.most_guided - 1):
            if not looks[-1].reading.evidence:
                break
            try:
                move = guided.send(looks[-1])
            except StopIteration:
                break
            before = max(map(sharpness, looks))
            looks.append((yield move))
            if sharpness(looks[-1]) <= before:
                break
        return looks


def _blank(look: Look) -> bool:
    return look.reading.value is None
