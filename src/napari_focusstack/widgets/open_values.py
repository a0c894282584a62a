"""What a user says of a stack that its file did not: which axis is which, pixel size, heights. No Qt in here."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass

from napari_focusstack.core.errors import InputError
from napari_focusstack.core.stack import AXES, Stack
from napari_focusstack.io.read import to_dask

AXIS_NAMES = {"Z": "z slices", "T": "time points", "C": "channels", "P": "positions"}
"""What an axis can be besides y, x and colour, in the words of the form."""

DEFAULT_WAVELENGTH_UM = 0.55
"""Green light: where the objective is known but not the light."""


@dataclass(frozen=True)
class Calibration:
    """Names and lengths of a stack's axes.

    Attributes
    ----------
    axes : str
        A letter for each axis of the data, in the order of the data (which need not be that of a `Stack`).
    y_um, x_um, z_um : float or None
        Pixel size and z step in µm; None where not known.
    z_positions_um : tuple of float or None
        Height of each slice in µm where the steps are uneven.
    channels : tuple of str
        Channel names; empty where there are none.
    """

    axes: str
    y_um: float | None = None
    x_um: float | None = None
    z_um: float | None = None
    z_positions_um: tuple[float, ...] | None = None
    channels: tuple[str, ...] = ()

    @classmethod
    def of(cls, stack: Stack) -> Calibration:
        """What `stack` says now."""
        return cls(stack.axes, stack.y_um, stack.x_um, stack.z_um, stack.z_positions_um, stack.channels)


@dataclass(frozen=True)
class Guess:
    """A value to propose for what is missing, and where it comes from."""

    pixel_um: float | None = None
    z_um: float | None = None
    pixel_from: str = ""
    z_from: str = ""


def calibrate(stack: Stack, calibration: Calibration) -> Stack:
    """Give `stack` the names and lengths of `calibration`; nothing is read.

    Raises
    ------
    InputError
        If the axes, heights or channel names don't fit the data.
    """
    named = calibration.axes
    doubled = sorted({AXIS_NAMES.get(a, a) for a in named if named.count(a) > 1})
    if doubled:
        raise InputError(
            f"Two axes of '{stack.name}' were both called {' and '.join(doubled)}: give each axis a name of its own."
        )
    order = sorted(range(len(named)), key=lambda i: AXES.index(named[i]))
    axes = "".join(named[i] for i in order)
    data = stack.data
    if order != list(range(len(named))):
        data = (data if hasattr(data, "transpose") else to_dask(stack)).transpose(order)
    return dataclasses.replace(
        stack,
        data=data,
        axes=axes,
        y_um=calibration.y_um,
        x_um=calibration.x_um,
        z_um=calibration.z_um if calibration.z_positions_um is None else None,
        z_positions_um=calibration.z_positions_um,
        channels=calibration.channels if "C" in axes else (),
        axes_note="axes named by you" if axes != stack.axes or data is not stack.data else stack.axes_note,
    )


def guess_missing(stack: Stack, others: Iterable[Stack] = ()) -> Guess:
    """Propose what `stack` does not know: as in another open stack of its size, else from the objective.

    The z step of an objective is taken as its depth of field λ·n/NA² (Inoué and Spring, Video Microscopy, 1997).
    """
    like = [other for other in others if other.plane_shape == stack.plane_shape]
    pixel_um = z_um = None
    pixel_from = z_from = ""
    if stack.x_um is None:
        known = next((other for other in like if other.x_um is not None), None)
        if known is not None:
            pixel_um, pixel_from = known.x_um, f"as in '{known.name}'"
    if stack.heights_um is None:
        known = next((other for other in like if other.z_um is not None), None)
        if known is not None:
            z_um, z_from = known.z_um, f"as in '{known.name}'"
        elif stack.optics.na:
            wavelength = stack.optics.wavelength_um or DEFAULT_WAVELENGTH_UM
            z_um = round(wavelength * (stack.optics.immersion_index or 1.0) / stack.optics.na**2, 3)
            z_from = "depth of field of the objective"
    return Guess(pixel_um, z_um, pixel_from, z_from)
