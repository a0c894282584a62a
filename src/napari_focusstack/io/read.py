"""Files to stacks: TIFF in its dialects, PNG, JPEG, BMP, videos; single files, folders and selections of slices."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from napari_focusstack.core.errors import InputError
from napari_focusstack.core.lazy import PlaneArray, join_planes
from napari_focusstack.core.stack import Stack, heights_given
from napari_focusstack.io.axes import name_axes
from napari_focusstack.io.files import listed, resolve
from napari_focusstack.io.found import Found
from napari_focusstack.io.raster import BMP, JPEG, PNG, raster_header, read_raster
from napari_focusstack.io.sequence import join_slices
from napari_focusstack.io.tiff import MAGIC, read_tiff
from napari_focusstack.io.video import is_video, read_video

Paths = str | Path | Sequence[str | Path]


def read_stack(
    path: Paths,
    *,
    series: int | None = None,
    z_axis: str | int | None = None,
    z_um: float | None = None,
    pixel_um: float | tuple[float, float] | None = None,
    z_positions_um: Sequence[float] | None = None,
) -> Stack:
    """Read one stack; its planes are read from the file only when they are asked for.

    Parameters
    ----------
    path : path or sequence of paths
        A file, a folder of single slices, or the files of single slices. Slices are put in natural order (img2 before
        img10), or in the order that marks in their names tell (``t01_z03``).
    series : int, optional
        Which image series of a file, or which file of a folder of stacks; the first series of a file where not given.
    z_axis : str or int, optional
        Which of the file's axes is z, by its letter (``"t"``) or its number; a z axis that the file names takes its
        name. Where not given, the rule told in `Stack.axes_note` holds.
    z_um, pixel_um, z_positions_um : optional
        Calibration in µm (`pixel_um`: one number, or (y, x)) in the place of the file's.

    Returns
    -------
    Stack
        Axes in the order PTCZYXS. Series of one file that differ in nothing but their place are its axis P.

    Raises
    ------
    InputError
        If nothing is there, or it can't be read as one stack; the message says why and what to do.
    """
    stacks = read_stacks(path, z_axis=z_axis, z_um=z_um, pixel_um=pixel_um, z_positions_um=z_positions_um)
    if series is not None:
        if not 0 <= series < len(stacks):
            raise InputError(f"There is no series {series} in {_shown(path)}: choose one from 0 to {len(stacks) - 1}.")
        return stacks[series]
    first = stacks[0]
    if len({s.source for s in stacks}) > 1:
        raise InputError(
            f"{_shown(path)} holds {len(stacks)} stacks, not the slices of one: "
            f"give one of them ({listed([s.name for s in stacks])})."
        )
    if len(stacks) == 1:
        return first
    return replace(first, axes_note=f"{first.axes_note}; the first of the {len(stacks)} image series of the file")


def read_stacks(
    path: Paths,
    *,
    z_axis: str | int | None = None,
    z_um: float | None = None,
    pixel_um: float | tuple[float, float] | None = None,
    z_positions_um: Sequence[float] | None = None,
) -> list[Stack]:
    """Read every stack of a file, a folder or a selection of files: `read_stack` for each image series.

    A folder or selection of single planes is one stack; one of files that hold several planes each is a stack a file.

    Raises
    ------
    InputError
        As `read_stack`.
    """
    files, others, source = resolve(path)
    if len(files) == 1:
        found = [(one, files[0]) for one in _join_positions(_read_file(files[0], z_axis=z_axis))]
    else:
        found = _read_several(files, source)
    stacks = []
    for one, where in found:
        if others:
            one = replace(one, notes=(*one.notes, f"passed over {listed([p.name for p in others])}"))
        name = _name(one, where, alone=len({w for _, w in found}) == len(found))
        stack = _stack(one, name, where, z_axis=z_axis)
        stacks.append(_calibrated(stack, z_um=z_um, pixel_um=pixel_um, z_positions_um=z_positions_um))
    return stacks


def to_dask(stack: Stack) -> Any:
    """The stack's pixels as a dask array with a chunk for each plane: read when computed, not before."""
    import dask.array

    n_plane = 3 if stack.is_rgb else 2
    shape = tuple(stack.data.shape)
    chunks = (1,) * (len(shape) - n_plane) + shape[-n_plane:]
    return dask.array.from_array(stack.data, chunks=chunks, name=False)


def _shown(path: Paths) -> str:
    return f"'{path}'" if isinstance(path, (str, Path)) else f"the selection of {len(path)} files"


def _read_file(path: Path, *, z_axis: str | int | None = None) -> list[Found]:
    """What is in one file; by its first bytes, whatever its name says."""
    try:
        with path.open("rb") as file:
            head = file.read(12)
    except OSError as error:
        raise InputError(f"'{path.name}' can't be read: {error.strerror or error}.") from error
    if not head:
        raise InputError(f"'{path.name}' is empty (0 bytes): copy or export it again.")
    if head.startswith(MAGIC):
        return read_tiff(path, colours_are_z=str(z_axis).strip().upper() == "S")
    if head.startswith((PNG, JPEG, BMP)):
        shape, dtype = raster_header(path)

        def read(_: int) -> Any:
            plane = read_raster(path)
            if plane.shape != shape or plane.dtype != dtype:
                raise InputError(f"'{path.name}' has changed since it was opened: open it again.")
            return plane

        data = PlaneArray(read, np.array(0), plane_shape=shape, dtype=dtype)
        return [Found(data, "", teller="the file", files=(path,), metadata={"format": "image"})]
    if is_video(head):
        return read_video(path)
    raise InputError(
        f"'{path.name}' is not an image that can be read here: give TIFF (OME, ImageJ, plain), PNG, JPEG or BMP files, "
        "or an AVI, MP4 or MOV video."
    )


def _read_several(files: list[Path], source: Path) -> list[tuple[Found, Path]]:
    """One stack of single planes, or a stack for each file."""
    first = _read_file(files[0])
    spread = {p.resolve() for one in first for p in one.files}
    if len(spread) > 1 and spread >= {f.resolve() for f in files}:
        return [(one, source) for one in _join_positions(first)]  # one data set that is spread over these files
    everything = [first, *(_read_file(f) for f in files[1:])]
    single = [len(found) == 1 and not found[0].letters for found in everything]
    if all(single):
        return [(join_slices([found[0] for found in everything], files), source)]
    if any(single):
        plane, stack = files[single.index(True)], files[single.index(False)]
        raise InputError(
            f"'{plane.name}' is a single plane and '{stack.name}' holds several: give single slices only, or one stack."
        )
    return [(one, f) for found, f in zip(everything, files, strict=True) for one in _join_positions(found)]


def _join_positions(found: list[Found]) -> list[Found]:
    """Make series that differ in nothing but their place one series with an axis P."""
    first = found[0]
    alike = {(f.data.shape, f.data.dtype, f.letters, f.y_um, f.x_um, f.z_um, f.channels) for f in found}
    if len(found) == 1 or len(alike) > 1 or {"P", "R"} & set(first.letters):
        return found
    names = tuple(f.series for f in found)
    metadata = {**first.metadata, "positions": names}
    data = join_planes([f.data for f in found])
    return [replace(first, data=data, letters="P" + first.letters, series="", metadata=metadata)]


def _name(found: Found, source: Path, *, alone: bool) -> str:
    name = source.resolve().name or str(source)
    if not source.is_dir():
        for ending in (".tif", ".tiff", ".ome", Path(name).suffix):
            name = name[: -len(ending)] if ending and name.lower().endswith(ending.lower()) else name
    return name if alone or not found.series else f"{name} {found.series}"


def _stack(found: Found, name: str, source: Path, *, z_axis: str | int | None) -> Stack:
    """Name the axes, put them in order."""
    axes, note = name_axes(found, name=name, z_axis=z_axis)
    order = sorted(range(len(axes)), key=lambda i: "PTCZ".index(axes[i]))
    in_order = "".join(axes[i] for i in order)
    # Steps and names hold for the file's own axes only.
    own_z = "Z" not in found.letters or ("Z" in axes and found.letters.index("Z") == axes.index("Z"))
    own_c = found.letters.find("C") == axes.find("C")
    n_slices = found.data.shape[axes.index("Z")] if "Z" in axes else 1
    heights = found.z_positions_um if own_z else None
    return Stack(
        found.data.transpose_leading(order),
        in_order + ("YXS" if found.rgb else "YX"),
        name=name,
        y_um=found.y_um,
        x_um=found.x_um,
        z_um=found.z_um if own_z else None,
        z_positions_um=heights if heights is not None and len(heights) == n_slices else None,
        channels=found.channels if own_c else (),
        axes_note="; ".join((note, *found.notes)),
        source=source,
        optics=found.optics,
        metadata={**found.metadata, "files": found.files},
    )


def _calibrated(
    stack: Stack,
    *,
    z_um: float | None,
    pixel_um: float | tuple[float, float] | None,
    z_positions_um: Sequence[float] | None,
) -> Stack:
    """The stack with the user's calibration in the place of the file's."""
    changes: dict[str, Any] = {}
    if pixel_um is not None:
        two = isinstance(pixel_um, (tuple, list)) and len(pixel_um) == 2
        changes |= zip(("y_um", "x_um"), pixel_um if two else (pixel_um, pixel_um), strict=True)  # type: ignore[arg-type]
    if z_um is not None:
        changes["z_um"], changes["z_positions_um"] = z_um, None
    if z_positions_um is not None:
        changes["z_positions_um"] = heights_given(z_positions_um)
    return dataclasses.replace(stack, **changes)
