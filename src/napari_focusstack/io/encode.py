"""A stack as the bytes of a TIFF: OME or ImageJ, plane by plane."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from napari_focusstack.core.errors import InputError
from napari_focusstack.core.stack import Stack
from napari_focusstack.io.provenance import NAMESPACE, as_text

_IMAGEJ_TYPES = ("uint8", "uint16", "float32")
_OME_TYPES = ("int8", "int16", "int32", "uint8", "uint16", "uint32", "float32", "float64")
_CLASSIC_LIMIT = 4 * 2**30 - 2**25


def write_planes(path: Path, stack: Stack, *, provenance: Mapping[str, str], ome: bool) -> Iterator[None]:
    """Write the header of a TIFF with room for its planes, then plane by plane; a step for each.

    Parameters
    ----------
    path : Path
        File to write.
    stack : Stack
        What to write; a single position.
    provenance : mapping of str to str
        Where it comes from.
    ome : bool
        Whether OME-TIFF is asked for; it is written, too, where ImageJ can't hold the stack.

    Raises
    ------
    InputError
        If no viewer opens pixels of such a type or size.
    """
    dtype = _written_type(stack)
    little = np.dtype(dtype).newbyteorder("<")
    n_bytes = int(np.prod(stack.data.shape, dtype=np.int64)) * little.itemsize
    imagej = (
        not ome
        and dtype in (("uint8",) if stack.is_rgb else _IMAGEJ_TYPES)
        and n_bytes < _CLASSIC_LIMIT
        and stack.z_positions_um is None  # ImageJ knows one step only
    )
    options = _imagej_options(stack, provenance) if imagej else _ome_options(stack, provenance)
    leading = "".join(a for a in ("TZC" if imagej else "TCZ") if a in stack.axes)
    axes = leading + stack.axes[stack.axes.index("Y") :]
    options["metadata"]["axes"] = axes
    import tifffile

    at, _ = tifffile.imwrite(
        path,
        shape=tuple(stack.size(a) for a in axes),
        dtype=little,
        byteorder="<",
        photometric="rgb" if stack.is_rgb else "minisblack",
        bigtiff=n_bytes >= _CLASSIC_LIMIT,
        returnoffset=True,
        **options,
    )
    with path.open("r+b") as file:
        file.seek(at)
        for plane in _planes(stack, leading):
            file.write(np.ascontiguousarray(plane, little).data)
            yield


def _planes(stack: Stack, leading: str) -> Iterator[Any]:
    """The planes in the order of the axes `leading`; read one by one, infinite depths and all."""
    own = [a for a in stack.axes if a not in "PYXS"]
    for where in np.ndindex(*(stack.size(a) for a in leading)):
        at = dict(zip(leading, where, strict=True))
        yield stack.data[tuple(at.get(a, 0) for a in own)]


def _written_type(stack: Stack) -> str:
    """The pixel type to write: the stack's, or one that viewers know and that holds all of its values."""
    name = stack.dtype.name
    if name not in ("int64", "uint64"):
        name = {"bool": "uint8", "float16": "float32"}.get(name, name)
        if name not in _OME_TYPES:
            raise InputError(f"'{stack.name}' holds {name} pixels, which TIFF viewers don't open: convert it first.")
        return name
    planes = map(np.asarray, _planes(stack, stack.axes[: stack.axes.index("Y")]))
    limits = [(int(plane.min()), int(plane.max())) for plane in planes]
    low, high = min(a for a, _ in limits), max(b for _, b in limits)
    for fitting in ("uint32", "int32"):
        if np.iinfo(fitting).min <= low and high <= np.iinfo(fitting).max:
            return fitting
    if max(-low, high) <= 2**53:
        return "float64"
    raise InputError(f"'{stack.name}' holds values up to {high}, which no TIFF viewer opens: divide them first.")


def _imagej_options(stack: Stack, provenance: Mapping[str, str]) -> dict[str, Any]:
    metadata: dict[str, Any] = {"mode": "composite"} if stack.n_channels > 1 else {}
    options: dict[str, Any] = {"imagej": True, "metadata": metadata}
    if stack.y_um and stack.x_um:
        options["resolution"] = (1 / stack.x_um, 1 / stack.y_um)
        metadata["unit"] = "um"
    elif stack.z_um:
        # A file has a resolution in any case, 1 where none is given: with µm as its unit, pixels would be 1 µm wide.
        metadata |= {"unit": "pixel", "zunit": "um"}
    if stack.z_um and stack.n_slices > 1:
        metadata["spacing"] = stack.z_um
    if provenance:
        metadata["Info"] = as_text(provenance)
    if stack.channels:
        order = np.ndindex(stack.n_times, stack.n_slices, stack.n_channels)
        metadata["Labels"] = [stack.channels[c] for _, _, c in order]
    return options


def _ome_options(stack: Stack, provenance: Mapping[str, str]) -> dict[str, Any]:
    metadata: dict[str, Any] = {"Name": stack.name}
    options: dict[str, Any] = {"ome": True, "metadata": metadata}
    for axis, um in (("X", stack.x_um), ("Y", stack.y_um), ("Z", stack.z_um)):
        if um is not None:
            metadata[f"PhysicalSize{axis}"] = um
            metadata[f"PhysicalSize{axis}Unit"] = "µm"
    if stack.y_um and stack.x_um:  # for programs that read the tags only
        options["resolution"] = (1e4 / stack.x_um, 1e4 / stack.y_um)
        options["resolutionunit"] = "CENTIMETER"
    if stack.z_positions_um is not None:
        heights = [z for _ in range(stack.n_times * stack.n_channels) for z in stack.z_positions_um]
        metadata["Plane"] = {"PositionZ": heights, "PositionZUnit": ["µm"] * len(heights)}
    if stack.channels:
        metadata["Channel"] = {"Name": list(stack.channels)}
    if provenance:
        metadata["Description"] = as_text(provenance)
        metadata["MapAnnotation"] = {"Namespace": NAMESPACE, **provenance}
    return options
