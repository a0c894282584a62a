"""Lengths as files name them, in µm."""

from __future__ import annotations

import math
from typing import Any

_UM = {
    "m": 1e6, "meter": 1e6, "metre": 1e6,
    "cm": 1e4, "centimeter": 1e4,
    "mm": 1e3, "millimeter": 1e3, "millimetre": 1e3,
    "um": 1.0, "µm": 1.0, "μm": 1.0, "\\u00b5m": 1.0, "micron": 1.0, "microns": 1.0,
    "micrometer": 1.0, "micrometre": 1.0,
    "nm": 1e-3, "nanometer": 1e-3, "nanometre": 1e-3,
    "å": 1e-4, "angstrom": 1e-4,
    "pm": 1e-6,
    "in": 25400.0, "inch": 25400.0, "inches": 25400.0, '"': 25400.0,
}  # fmt: skip

PRINTING_DPI = {72, 75, 90, 96, 100, 120, 144, 150, 200, 203, 240, 250, 254, 300, 350, 360, 400, 600, 720, 1200}
"""Resolutions that programs write when they know of none: meant for printing, not for the specimen."""


def um_per(unit: str) -> float | None:
    """µm in a `unit`; None where it is not a length ("pixel", "reference frame", "")."""
    return _UM.get(unit.strip().lower())


def length_um(value: Any, unit: str = "µm") -> float | None:
    """`value` in µm; None where it is no number above 0 or the unit is no length."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    factor = um_per(unit)
    return number * factor if factor and math.isfinite(number) and number > 0 else None


def pixel_from_resolution(per_unit: Any, unit: int) -> float | None:
    """Pixel size in µm from a TIFF resolution tag.

    Parameters
    ----------
    per_unit : (int, int)
        Pixels per unit as a fraction.
    unit : int
        2 for inch, 3 for cm; others say nothing.

    Returns
    -------
    float or None
        None too for whole-numbered printing resolutions such as 72, 96 or 300 dpi.
    """
    try:
        density = per_unit[0] / per_unit[1]
    except (TypeError, ZeroDivisionError, IndexError):
        return None
    if unit not in (2, 3) or not density > 0:
        return None
    dpi = density if unit == 2 else density * 2.54
    # Photo programs convert 300 dpi to 118.11 per cm: not quite whole any more.
    if round(dpi) in PRINTING_DPI and abs(dpi - round(dpi)) < 0.02:
        return None
    return float(25400.0 / dpi)
