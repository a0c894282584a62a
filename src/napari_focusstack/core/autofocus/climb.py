"""To the highest sharpness from where it is known to rise: past the sharpest image, then between its neighbours."""

from __future__ import annotations

import numpy as np

from napari_focusstack.core.autofocus.base import Look, Move, Moves, Travel, Verdict, sharpness

NARROW_DOF = 0.6
"""A peak between two images that near to it is known."""
WIDE_DOF = 4 * NARROW_DOF
"""A peak beside a gap as wide as that is not known, wherever a parabola puts it."""
LEAST_SHARE = 1e-6
"""Images that show nothing count as this much of the peak's sharpness."""
UNEVEN = 3.0
"""A gap so many times wider than the other is looked into first."""


def climb(looks: list[Look], travel: Travel, *, fine_um: float, most: int, step_um: float | None = None) -> Moves:
    """Go on from images at two heights or more, to where it is sharpest; new ones are appended to `looks`.

    Parameters
    ----------
    looks : list of Look
        All images so far.
    travel : Travel
        The limits.
    fine_um : float
        Heights nearer than this to each other are one.
    most : int
        Images in all after which the sharpest one is taken.
    step_um : float, optional
        How far to go past the sharpest image at first, each time twice as far; twice its distance from the next one
        where it is not given.
    """
    while True:
        order = sorted({look.z_um: look for look in looks}.values(), key=lambda look: look.z_um)
        k = int(np.argmax([sharpness(look) for look in order]))
        sharpest, over = order[k], len(looks) >= most
        if k in (0, len(order) - 1):
            side = -1 if k == 0 else 1
            inner = order[k - side].z_um
            step_um = step_um or 2 * abs(sharpest.z_um - inner)
            target = travel.within(sharpest.z_um + side * max(step_um, fine_um))
            at_limit = abs(target - sharpest.z_um) < fine_um
            if at_limit and abs(sharpest.z_um - inner) > WIDE_DOF * travel.dof_um:
                target, at_limit = (sharpest.z_um + inner) / 2, False
            if at_limit or over:
                where = f"up to the limit at {target:g} µm" if at_limit else f"after {len(looks)} images"
                return Verdict(False, sharpest.z_um, f"It still gets sharper {where}.")
            step_um *= 2
            looks.append((yield Move(target, "search", "sharper on this side")))
            continue
        between = None if over else _between(*order[k - 1 : k + 2], fine_um=fine_um, dof_um=travel.dof_um)
        if between is not None:
            looks.append((yield Move(travel.within(between), "search", "the highest sharpness")))
            continue
        if abs(looks[-1].z_um - sharpest.z_um) > fine_um:
            looks.append((yield Move(sharpest.z_um, "return", "to the sharpest image")))
        likely = order[k - 1].z_um, order[k + 1].z_um
        return Verdict(True, looks[-1].z_um, f"The sharpest of {len(looks)} images was taken here.", likely)


def _between(left: Look, sharpest: Look, right: Look, *, fine_um: float, dof_um: float) -> float | None:
    """Where to look next between two images of which the one in the middle is the sharpest; None where it is known."""
    near, far = sorted((left, right), key=lambda look: abs(look.z_um - sharpest.z_um))
    gap, middle = abs(far.z_um - sharpest.z_um), (far.z_um + sharpest.z_um) / 2
    if gap <= NARROW_DOF * dof_um:
        return None
    target = middle if gap > UNEVEN * abs(near.z_um - sharpest.z_um) else _vertex(left, sharpest, right)
    if abs(target - sharpest.z_um) <= fine_um:
        return middle if gap > WIDE_DOF * dof_um else None
    return target


def _vertex(left: Look, middle: Look, right: Look) -> float:
    """Where the parabola through the logarithms of three, of which the middle one is the sharpest, is highest."""
    x = np.array([left.z_um, right.z_um]) - middle.z_um
    share = np.array([sharpness(left), sharpness(right)]) / sharpness(middle)
    bend, slope = np.linalg.solve(np.stack([x**2, x], axis=1), np.log(np.maximum(share, LEAST_SHARE)))
    return middle.z_um if bend >= 0 else float(np.clip(middle.z_um - slope / (2 * bend), left.z_um, right.z_um))
