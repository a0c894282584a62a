"""A classical search: Brent's method on a focus measure, as Micro-Manager's OughtaFocus does it.

Brent 1973, *Algorithms for Minimization without Derivatives*, ch. 5: parabolas through the best three places where they
fit, golden sections where they don't. It needs no weights, and one broad maximum within its range.
"""

from __future__ import annotations

import math
from collections.abc import Generator
from dataclasses import dataclass
from itertools import combinations

from napari_focusstack.core.autofocus.base import Look, Move, Moves, Travel, Verdict, sharpness

GOLDEN = (3 - math.sqrt(5)) / 2
STANDS_OUT = 0.015
"""The peak has to exceed the lowest value by this share of the peak, …"""
OVER_NOISE = 5.0
"""… and by this many times the difference between two images of the same place."""
SAME_UM = 0.01
MOST_IMAGES = 60


@dataclass(frozen=True)
class CurvePolicy:
    """Brent's search for the maximum of a focus measure, between the limits.

    Attributes
    ----------
    tolerance : float
        Places nearer than this to each other are one, in depths of field.
    """

    tolerance: float = 0.25
    name: str = "brent"

    def moves(self, travel: Travel) -> Moves:
        """See `Policy.moves`."""
        low, high = travel.low_um, travel.high_um
        tolerance = self.tolerance * travel.dof_um
        looks = [(yield Move(travel.start_um, "look"))]
        looks.append((yield Move(travel.start_um, "again", "how much the measure varies by itself")))
        best = yield from _brent(low, high, tolerance, looks)
        looks.append((yield Move(best.z_um, "return", "to the sharpest place")))
        if not stands_out(looks):
            return Verdict(False, best.z_um, "There is nothing to focus on: the measure is the same at every height.")
        if min(best.z_um - low, high - best.z_um) <= 2 * tolerance:
            return Verdict(
                False, best.z_um, f"It gets sharper up to the travel limit at {best.z_um:g} µm: set wider limits."
            )
        lowest = min(map(sharpness, looks))
        return Verdict(
            True,
            best.z_um,
            f"The measure is highest here; at its lowest it was {lowest / sharpness(best):.0%} of that.",
        )


def stands_out(looks: list[Look]) -> bool:
    """Whether the sharpest image is sharper than the least by more than chance, which images of one height tell."""
    values = [sharpness(look) for look in looks]
    rise = max(values) - min(values)
    twice = [(a, b) for a, b in combinations(looks, 2) if abs(a.z_um - b.z_um) < SAME_UM]
    noise = max((abs(sharpness(a) - sharpness(b)) for a, b in twice), default=0.0)
    return rise > max(STANDS_OUT * abs(max(values)), OVER_NOISE * noise)


def _brent(low: float, high: float, tolerance: float, looks: list[Look]) -> Generator[Move, Look, Look]:
    """Maximise between two heights; appends what it sees to `looks` and returns the best place."""
    x = low + GOLDEN * (high - low)
    looks.append((yield Move(x, "search", "golden section")))
    first = second = third = looks[-1]
    step = before = 0.0
    for _ in range(MOST_IMAGES):
        x, middle = first.z_um, (low + high) / 2
        if abs(x - middle) <= 2 * tolerance - (high - low) / 2:
            break
        parabola = _parabola(first, second, third)
        inside = parabola is not None and low + tolerance < x + parabola < high - tolerance
        if parabola is not None and inside and abs(parabola) < abs(before) / 2:
            before, step, note = step, parabola, "parabola"
        else:
            before = (high if x < middle else low) - x
            step, note = GOLDEN * before, "golden section"
        if abs(step) < tolerance:
            step = math.copysign(tolerance, step or middle - x)
        look = yield Move(x + step, "search", note)
        looks.append(look)
        if sharpness(look) >= sharpness(first):
            low, high = (x, high) if look.z_um >= x else (low, x)
            first, second, third = look, first, second
            continue
        low, high = (look.z_um, high) if look.z_um < x else (low, look.z_um)
        if sharpness(look) >= sharpness(second) or second is first:
            second, third = look, second
        elif sharpness(look) >= sharpness(third) or third in (first, second):
            third = look
    return first


def _parabola(first: Look, second: Look, third: Look) -> float | None:
    """From the best place to the vertex of the parabola through three; None where there is none."""
    if sharpness(third) == -math.inf or len({first.z_um, second.z_um, third.z_um}) < 3:
        return None
    x = first.z_um
    r = (x - second.z_um) * (sharpness(third) - sharpness(first))
    q = (x - third.z_um) * (sharpness(second) - sharpness(first))
    p = (x - third.z_um) * q - (x - second.z_um) * r
    q = 2 * (q - r)
    return None if q == 0 else -p / q
