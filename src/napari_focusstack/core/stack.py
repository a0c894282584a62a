"""`Stack`: pixels with named axes and their calibration. Immutable, lazy where its pixels are."""

from __future__ import annotations

import dataclasses
import numbers
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_focusstack.core.errors import InputError
from napari_focusstack.core.lazy import in_memory

AXES = "PTCZYXS"
"""Axes in the order in which a `Stack` holds them: position, time, channel, z, y, x, colour samples (RGB)."""

SUPPORTED_KINDS = "uif"
Plane = NDArray[Any]


LARGEST = 1e9
"""Largest value of a pixel, of either sign: fourth powers still are numbers in single precision."""


@dataclass(frozen=True)
class Optics:
    """What the microscope was, as far as it is known. Every length in µm.

    Attributes
    ----------
    na : float or None
        Numerical aperture of the objective.
    wavelength_um : float or None
        Wavelength of the light that makes the image (emission in fluorescence).
    immersion_index : float or None
        Refractive index between objective and specimen.
    magnification : float or None
        Nominal magnification of the objective.
    instrument : str or None
        Microscope and objective, as the file names them.
    rings : {"below", "above"} or None
        On which side of focus points show rings (spherical aberration): on slices below it or above it.
    """

    na: float | None = None
    wavelength_um: float | None = None
    immersion_index: float | None = None
    magnification: float | None = None
    instrument: str | None = None
    rings: Literal["below", "above"] | None = None

    def __post_init__(self) -> None:
        for label, value, example in (
            ("numerical aperture", self.na, "like 0.75"),
            ("wavelength", self.wavelength_um, "in µm, like 0.52"),
            ("refractive index", self.immersion_index, "like 1.33"),
            ("magnification", self.magnification, "like 20"),
        ):
            if value is not None and not _is_positive(value):
                raise InputError(f"The {label} is {_shown(value)}: give a number above 0, {example}, or leave it out.")
        if self.rings not in (None, "below", "above"):
            raise InputError(
                f"The side of the rings is {_shown(self.rings)}: give 'below' or 'above', or leave it out."
            )


def _is_number(value: Any) -> bool:
    """Whether it is a finite number."""
    return value is not True and isinstance(value, numbers.Real) and bool(np.isfinite(float(value)))


def _is_positive(value: Any) -> bool:
    return _is_number(value) and value > 0


def _shown(value: Any) -> str:
    """What was given, for a message: a text in quotes."""
    return f"'{value}'" if isinstance(value, str) else str(value)


@dataclass(frozen=True, eq=False)
class Stack:
    """A z-stack (or a set of them: positions, times, channels) with its calibration.

    Attributes
    ----------
    data : array-like
        Anything with ``shape``, ``dtype`` and NumPy indexing: an array, a memory map, a dask array. Only the planes
        that are asked for are read.
    axes : str
        One letter an axis, a subsequence of ``"PTCZYXS"`` that holds Y and X. S has length 3 (RGB).
    name : str
        What to call it.
    y_um, x_um, z_um : float or None
        Pixel size and z step in µm; None where not known.
    z_positions_um : tuple of float or None
        Height of each slice in µm where the steps are uneven.
    channels : tuple of str
        Channel names; empty where there are none.
    axes_note : str
        By which rule the axes were named, in a sentence for the user.
    source : Path or None
        File or folder that it was read from.
    optics : Optics
        What is known of the microscope.
    metadata : mapping
        Anything else that the source told and an export may keep.
    """

    data: Any
    axes: str
    name: str = "stack"
    y_um: float | None = None
    x_um: float | None = None
    z_um: float | None = None
    z_positions_um: tuple[float, ...] | None = None
    channels: tuple[str, ...] = ()
    axes_note: str = ""
    source: Path | None = None
    optics: Optics = Optics()
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "metadata", MappingProxyType(dict(self.metadata)))
        order = [AXES.find(a) for a in self.axes]
        if -1 in order or order != sorted(set(order)) or not {"Y", "X"} <= set(self.axes):
            raise InputError(
                f"'{self.axes}' can't name the axes of '{self.name}': "
                f"name each axis once, in the order of {AXES}, with Y and X."
            )
        if len(self.axes) != len(self.data.shape):
            raise InputError(
                f"'{self.name}' has {len(self.data.shape)} axes {tuple(self.data.shape)} but is named '{self.axes}': "
                "name one letter for each axis."
            )
        if 0 in self.data.shape:
            raise InputError(
                f"'{self.name}' is empty, its shape is {tuple(self.data.shape)}: give an image with pixels."
            )
        if np.dtype(self.data.dtype).kind not in SUPPORTED_KINDS + "b":
            raise InputError(
                f"'{self.name}' holds {self.data.dtype} pixels: convert it to 8 or 16 bit integers or to floats first."
            )
        if self.is_rgb and self.size("S") != 3:
            raise InputError(f"'{self.name}' has {self.size('S')} colour samples a pixel: give grey or RGB images.")
        if self.z_positions_um is not None and len(self.z_positions_um) != self.n_slices:
            raise InputError(
                f"{len(self.z_positions_um)} z positions were given for the {self.n_slices} slices of '{self.name}': "
                "give one for each slice."
            )
        wrong = [z for z in self.z_positions_um or () if not _is_number(z)]
        if wrong:
            raise InputError(
                f"The z positions of '{self.name}' hold {_shown(wrong[0])}, which is no finite number: "
                "give the height of each slice in µm, or none."
            )
        if self.channels and len(self.channels) != self.size("C"):
            raise InputError(
                f"{len(self.channels)} channel names were given for the {self.size('C')} channels of '{self.name}': "
                "give one for each channel."
            )
        for label, value in (("pixel height", self.y_um), ("pixel width", self.x_um), ("z step", self.z_um)):
            if value is not None and not _is_positive(value):
                raise InputError(f"The {label} of '{self.name}' is {_shown(value)}: give a length above 0 in µm.")

    def size(self, axis: str) -> int:
        """Length of `axis`; 1 where the stack does not have it."""
        return int(self.data.shape[self.axes.index(axis)]) if axis in self.axes else 1

    @property
    def n_slices(self) -> int:
        """Number of z slices."""
        return self.size("Z")

    @property
    def n_channels(self) -> int:
        """Number of channels (RGB counts as one)."""
        return self.size("C")

    @property
    def n_times(self) -> int:
        """Number of time points."""
        return self.size("T")

    @property
    def n_positions(self) -> int:
        """Number of stage positions."""
        return self.size("P")

    @property
    def is_rgb(self) -> bool:
        """Whether a plane is (Y, X, 3)."""
        return self.axes.endswith("S")

    @property
    def plane_shape(self) -> tuple[int, int]:
        """(Y, X) of a plane in pixels."""
        return self.size("Y"), self.size("X")

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of a pixel."""
        dtype: np.dtype[Any] = np.dtype(self.data.dtype)
        return dtype

    @property
    def hint(self) -> str:
        """What a reader says that the user may have to set right, in a sentence."""
        return str(self.metadata.get("hint", ""))

    @property
    def heights_um(self) -> NDArray[np.float64] | None:
        """(Z,) height of each slice in µm from the first slice (or as given); None where the step is not known."""
        if self.z_positions_um is not None:
            return np.asarray(self.z_positions_um, np.float64)
        return None if self.z_um is None else np.arange(self.n_slices, dtype=np.float64) * self.z_um

    def plane(self, z: int = 0, *, c: int = 0, t: int = 0, p: int = 0) -> Plane:
        """Read one plane, (Y, X) or (Y, X, 3), in the stack's own pixel type. Booleans come as 0 and 1 (uint8).

        Raises
        ------
        InputError
            If the plane holds NaN or infinity, or values beyond `LARGEST`.
        """
        where = {"P": p, "T": t, "C": c, "Z": z}
        plane = in_memory(self.data[tuple(where[a] for a in self.axes if a in where)])
        if plane.dtype.kind == "b":
            return plane.astype(np.uint8)
        if plane.dtype.kind == "f" and not np.isfinite(plane).all():
            bad = int(plane.size - np.isfinite(plane).sum())
            others = (("time point", "T"), ("channel", "C"), ("position", "P"))
            told = ", ".join(f"{word} {where[a]}" for word, a in others if self.size(a) > 1)
            which = f"Slice {z} ({told})" if told else f"Slice {z}"
            pixels, them = ("a pixel that is", "it") if bad == 1 else (f"{bad} pixels that are", "them")
            found = f"{which} of '{self.name}' holds {pixels} NaN or infinite: replace {them} by numbers first"
            raise InputError(
                f"{found} (numpy.nan_to_num, or crop the border).",
                in_napari=f"{found}. In napari's console (the button >_ at the lower left): import numpy; "
                f"layer = viewer.layers[{self.name!r}]; layer.data = numpy.nan_to_num(layer.data)",
            )
        if plane.dtype.kind == "f" and plane.size and max(plane.max(), -plane.min()) > LARGEST:
            raise InputError(
                f"Slice {z} of '{self.name}' holds values up to {float(np.abs(plane).max()):.2g}: "
                f"their squares have to be computed, so divide the stack, so that it stays below {LARGEST:.0e}."
            )
        return plane

    def planes(self, *, c: int = 0, t: int = 0, p: int = 0) -> Iterator[Plane]:
        """Read the slices of one channel, time and position in turn."""
        for z in range(self.n_slices):
            yield self.plane(z, c=c, t=t, p=p)

    def series(self, *, t: int = 0, p: int = 0) -> Stack:
        """One time point of one position: a stack without axes T and P, nothing read."""
        self._check("time point", t, self.n_times)
        self._check("position", p, self.n_positions)
        where: tuple[Any, ...] = tuple({"P": p, "T": t}.get(a, slice(None)) for a in self.axes)
        axes = "".join(a for a in self.axes if a not in "PT")
        return dataclasses.replace(self, data=self.data[where], axes=axes)

    def only_channel(self, c: int) -> Stack:
        """One channel: a stack without axis C, nothing read."""
        if "C" not in self.axes:
            self._check("channel", c, 1)
            return self
        self._check("channel", c, self.n_channels)
        where: tuple[Any, ...] = tuple(c if a == "C" else slice(None) for a in self.axes)
        wavelengths = self.metadata.get("wavelengths_um") or ()
        optics = self.optics
        if len(wavelengths) == self.n_channels:
            optics = dataclasses.replace(optics, wavelength_um=wavelengths[c])
        return dataclasses.replace(
            self,
            data=self.data[where],
            axes=self.axes.replace("C", ""),
            channels=self.channels[c : c + 1],
            optics=optics,
        )

    def find_channel(self, channel: int | str) -> int:
        """Index of a channel that is given by its name or its index.

        Raises
        ------
        InputError
            If there is no such channel; the message lists those there are.
        """
        if isinstance(channel, str) and channel in self.channels:
            return self.channels.index(channel)
        try:
            index = int(channel)
        except ValueError:
            index = -1
        if not 0 <= index < self.n_channels:
            if self.n_channels == 1:
                name = f" ('{self.channels[0]}')" if self.channels else ""
                raise InputError(
                    f"There is no channel '{channel}', '{self.name}' has a single one{name}: leave the choice out."
                )
            known = ", ".join(f"{i} ({n})" for i, n in enumerate(self.channels)) or f"0 to {self.n_channels - 1}"
            raise InputError(f"'{self.name}' has no channel '{channel}': choose one of {known}.")
        return index

    def require_slices(self, purpose: str) -> None:
        """Raise `InputError` unless there are two slices at least."""
        if self.n_slices < 2:
            what = "a time series without a z axis" if self.n_times > 1 else "a single slice"
            raise InputError(
                f"'{self.name}' is {what} (axes {self.axes}, {'×'.join(map(str, self.data.shape))}): "
                f"to {purpose}, give two slices or more along z, or say which axis is z. {self.hint}".rstrip()
            )

    def _check(self, what: str, index: int, n: int) -> None:
        if n == 1 and index != 0:
            raise InputError(f"There is no {what} {index}, '{self.name}' has a single one: leave the choice out.")
        if not 0 <= index < n:
            raise InputError(f"'{self.name}' has no {what} {index}: choose one from 0 to {n - 1}.")


def from_array(
    data: Any,
    *,
    axes: str | None = None,
    name: str = "array",
    z_um: float | None = None,
    y_um: float | None = None,
    x_um: float | None = None,
    z_positions_um: Sequence[float] | None = None,
    channels: Sequence[str] = (),
    optics: Optics = Optics(),
) -> Stack:
    """Make a `Stack` from an array.

    Without `axes`, the last axes are Z, Y, X (and S, where the last has length 3 or 4 and there are four); axes before
    them are C, then T, then P.
    """
    if not hasattr(data, "shape"):
        data = np.asarray(data)
    note = "axes given"
    if axes is None:
        rgb = data.ndim >= 3 and data.shape[-1] in (3, 4) and data.shape[-2] > 4
        axes = "PTCZYX"[-(data.ndim - rgb) :] + ("S" if rgb else "")
        note = f"no axes given, taken for {axes}"
    if axes.endswith("S") and data.shape[-1] == 4:
        data = data[..., :3]
    return Stack(
        data,
        axes,
        name=name,
        z_um=z_um,
        y_um=y_um,
        x_um=x_um,
        z_positions_um=heights_given(z_positions_um),
        channels=tuple(channels),
        axes_note=note,
        optics=optics,
    )


def heights_given(z_positions_um: Any) -> tuple[float, ...] | None:
    """What a caller gave for the heights of the slices, as a `Stack` takes it."""
    if z_positions_um is None:
        return None
    if isinstance(z_positions_um, str) or not hasattr(z_positions_um, "__iter__"):
        raise InputError(f"The z positions are {_shown(z_positions_um)}: give a list, the height of each slice in µm.")
    return tuple(z_positions_um)


def as_stack(data: Any) -> Stack:
    """What a caller of the package gave for a z-stack: a `Stack` as it is, an array as one where its shape is clear.

    Clear are (Z, Y, X) and (Z, Y, X, 3), but for three or four planes, which may be colours or channels.

    Raises
    ------
    InputError
        If it is neither; the message says how to make a stack of it.
    """
    if isinstance(data, Stack):
        return data
    if isinstance(data, (str, Path)):
        raise InputError(f"'{data}' is the name of a file, not a stack: open it first, with read_stack('{data}').")
    shape = tuple(getattr(data, "shape", ()))
    way = "name its axes, like from_array(data, axes='ZYX', z_um=1.5)"
    if not shape:
        raise InputError(f"A {type(data).__name__} is no z-stack: {way}.")
    rgb = len(shape) == 4 and shape[-1] == 3
    grey = len(shape) == 3 and shape[-1] not in (3, 4)
    if not (rgb or grey) or shape[0] in (3, 4):
        raise InputError(f"An array of shape {shape} may be a z-stack or something else: {way}.")
    return from_array(data, axes="ZYXS" if rgb else "ZYX")
