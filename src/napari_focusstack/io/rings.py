"""On which side of focus an objective shows rings: found once on a stack, remembered for single images."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from napari_focusstack.core.stack import Optics
from napari_focusstack.io.atomic import replacing
from napari_focusstack.networks.zoo import user_folder

Side = Literal["below", "above"]
SIDES = ("below", "above")
ALIKE = 0.02
"""Magnifications and pixel sizes that differ by less than this share are the same."""


@dataclass(frozen=True)
class Remembered:
    """The side of one objective, and by what it is known again.

    Attributes
    ----------
    na : str
        Numerical aperture, two decimals.
    rings : {"below", "above"}
        On which side of focus it shows rings.
    instrument : str or None
        Microscope and objective, as the file named them.
    magnification : float or None
        Of the objective.
    pixel_um : float or None
        Pixel size of the stack.
    """

    na: str
    rings: Side
    instrument: str | None = None
    magnification: float | None = None
    pixel_um: float | None = None

    def likeness(self, optics: Optics, pixel_um: float | None) -> int:
        """By how much an image fits: -1 where it is of another objective, 0 where only the apertures are known."""
        if optics.na is None or self.na != _na(optics.na):
            return -1
        named = _same_name(self.instrument, optics.instrument)
        magnified = _same_number(self.magnification, optics.magnification)
        # Cameras and binning change the pixel, objectives don't: it counts where there is nothing better.
        pixel = _same_number(self.pixel_um, pixel_um) if named is None and magnified is None else None
        told = [t for t in (named, magnified, pixel) if t is not None]
        return sum(told) if all(told) else -1


def rings_file() -> Path:
    """Where it is remembered: beside the user's own models."""
    return user_folder() / "rings.json"


def remember_rings(optics: Optics, side: Side, *, pixel_um: float | None = None) -> Path:
    """Remember the side for this objective, as far as its image tells which it is; the file is returned.

    Parameters
    ----------
    optics : Optics
        With a numerical aperture.
    side : {"below", "above"}
        On which side of focus points show rings.
    pixel_um : float, optional
        Pixel size, where the image is calibrated.
    """
    if optics.na is None:
        raise ValueError("the side is remembered for an aperture, and none is known")
    new = Remembered(_na(optics.na), side, optics.instrument, optics.magnification, pixel_um)
    kept = [old for old in _read() if replace(old, rings=side) != new]
    path = rings_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    content = json.dumps({"objectives": [vars(entry) for entry in (*kept, new)]}, indent=2) + "\n"
    with replacing(path, overwrite=True) as part:
        part.write_text(content, encoding="utf-8")
    return path


def with_known_rings(optics: Optics, *, pixel_um: float | None = None) -> Optics:
    """Optics with the remembered side of their objective, where they don't tell one themselves.

    Of several that fit, those count that most is known to agree of; nothing where these tell different sides.
    """
    if optics.rings is not None or optics.na is None:
        return optics
    fits = [(entry.likeness(optics, pixel_um), entry.rings) for entry in _read()]
    best = max((likeness for likeness, _ in fits), default=-1)
    sides = {side for likeness, side in fits if likeness == best >= 0}
    return replace(optics, rings=sides.pop()) if len(sides) == 1 else optics


def _na(na: float) -> str:
    return f"{na:.2f}"


def _same_name(a: str | None, b: str | None) -> bool | None:
    return a == b if a and b else None


def _same_number(a: float | None, b: float | None) -> bool | None:
    return math.isclose(a, b, rel_tol=ALIKE) if a and b else None


def _read() -> list[Remembered]:
    """What is remembered; nothing where the file is missing or damaged: it can be found anew."""
    try:
        content = json.loads(rings_file().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    if not isinstance(content, dict):
        return []
    # Older files are a mapping from aperture to side.
    old = [{"na": na, "rings": side} for na, side in content.items() if isinstance(side, str)]
    listed = content.get("objectives")
    return [entry for told in (*old, *(listed if isinstance(listed, list) else ())) if (entry := _entry(told))]


def _entry(told: Any) -> Remembered | None:
    if not isinstance(told, Mapping) or told.get("rings") not in SIDES or not isinstance(told.get("na"), str):
        return None
    name, numbers = told.get("instrument"), [told.get(key) for key in ("magnification", "pixel_um")]
    magnification, pixel_um = (float(n) if isinstance(n, (int, float)) else None for n in numbers)
    return Remembered(told["na"], told["rings"], str(name) if name else None, magnification, pixel_um)
