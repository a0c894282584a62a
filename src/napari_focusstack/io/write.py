"""Results to files: TIFF that Fiji and napari open with the right scale, and tables."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_focusstack.core.errors import InputError
from napari_focusstack.core.fusion.fused import Fused
from napari_focusstack.core.report import FocusReport
from napari_focusstack.core.stack import Stack
from napari_focusstack.io.atomic import replacing
from napari_focusstack.io.provenance import NAMESPACE, as_text, fused_provenance, score_provenance, source_files

Part = Literal["image", "index", "depth", "confidence"]
_IMAGEJ_TYPES = ("uint8", "uint16", "float32")
_OME_TYPES = ("int8", "int16", "int32", "uint8", "uint16", "uint32", "float32", "float64")
LAYERS = {
    "class": "focus class of each patch, 0 (in focus) to 9 (wholly blurred)",
    "certainty": "certainty of each patch, 0 to 1; 0 where there is nothing to judge by",
    "defocus_um": "signed defocus in µm, positive where the slice lies above what is in focus; NaN where empty",
    "side": "how sure one image alone makes the sign of the defocus, 0 to 1",
}
"""What the maps that networks give beside the focus values hold."""
_CLASSIC_LIMIT = 4 * 2**30 - 2**25


def check_tiff_name(path: str | Path) -> Path:
    """`path` as a Path, if its name is that of a TIFF.

    Raises
    ------
    InputError
        If it has another ending.
    """
    path = Path(path)
    if path.suffix.lower() not in (".tif", ".tiff"):
        raise InputError(f"'{path.name}' is not the name of a TIFF: end it with .ome.tif or .tif.")
    return path


def write_stack(
    path: str | Path, stack: Stack, *, provenance: Mapping[str, str] | None = None, overwrite: bool = False
) -> Path:
    """Write a stack or image as TIFF, plane by plane.

    A name that ends in ``.ome.tif`` becomes OME-TIFF. Any other ``.tif`` becomes ImageJ TIFF where ImageJ knows the
    pixel type (8 and 16 bit without sign, float32, RGB of 8 bit, up to 4 GB), and OME-TIFF where it does not.

    Parameters
    ----------
    path : path
        Ends in .tif or .tiff.
    stack : Stack
        What to write; its pixel size, z step or heights, and channel names go into the file.
    provenance : mapping of str to str, optional
        Where it comes from: a map annotation in OME-TIFF, the image's Info in ImageJ TIFF (Image > Show Info).
    overwrite : bool
        Whether a file that is there is replaced. The source never is.

    Returns
    -------
    Path
        `path`.

    Raises
    ------
    InputError
        If it can't be written there; nothing is left half-written.
    """
    path = check_tiff_name(path)
    if stack.n_positions > 1:
        raise InputError(f"'{stack.name}' has {stack.n_positions} positions: choose one to write.")
    dtype = {"bool": "uint8", "float16": "float32"}.get(stack.dtype.name, stack.dtype.name)
    if dtype not in _OME_TYPES:
        raise InputError(f"'{stack.name}' holds {dtype} pixels, which TIFF viewers don't open: convert it first.")
    n_bytes = int(np.prod(stack.data.shape, dtype=np.int64)) * np.dtype(dtype).itemsize
    imagej = (
        not path.name.lower().endswith((".ome.tif", ".ome.tiff"))
        and dtype in (("uint8",) if stack.is_rgb else _IMAGEJ_TYPES)
        and n_bytes < _CLASSIC_LIMIT
    )
    order = "TZC" if imagej else "TCZ"
    options = _imagej_options(stack, provenance or {}) if imagej else _ome_options(stack, provenance or {})
    axes = "".join(a for a in order if a in stack.axes) + stack.axes[stack.axes.index("Y") :]
    options["metadata"]["axes"] = axes
    with replacing(path, overwrite=overwrite, sources=source_files(stack)) as part:
        import tifffile

        tifffile.imwrite(
            part,
            _planes(stack, axes, np.dtype(dtype)),
            shape=tuple(stack.size(a) for a in axes),
            dtype=dtype,
            photometric="rgb" if stack.is_rgb else "minisblack",
            bigtiff=n_bytes >= _CLASSIC_LIMIT,
            **options,
        )
    return path


def write_fused(
    path: str | Path,
    fused: Fused,
    stack: Stack,
    *,
    part: Part = "image",
    provenance: Mapping[str, str] | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a part of a fused image with the calibration of its source and its provenance; see `write_stack`.

    Parameters
    ----------
    path : path
        Ends in .tif or .tiff.
    fused : Fused
        What a fusion method returned.
    stack : Stack
        What it was fused from.
    part : {"image", "index", "depth", "confidence"}
        The image, the slice of each pixel (uint16), its height in µm or its confidence 0…1 (float32).
    provenance : mapping of str to str, optional
        `fused_provenance` where not given; give it to hash a large source once for several parts.
    overwrite : bool
        Whether a file that is there is replaced. The source never is.

    Raises
    ------
    InputError
        If it can't be written; and for the depth of a stack whose z step is not known.
    """
    if part == "depth" and fused.depth_um is None:
        raise InputError(f"The z step of '{stack.name}' is not known, so there is no depth in µm: give the z step.")
    data: NDArray[Any] | None
    data = {"image": fused.image, "index": fused.index, "depth": fused.depth_um, "confidence": fused.confidence}[part]
    assert data is not None
    axes = fused.axes if part == "image" else "YX" if data.ndim == 2 else "CYX"
    n_channels = data.shape[0] if "C" in axes else 1
    flat = Stack(
        data,
        axes,
        name=f"{stack.name} {part}",
        y_um=stack.y_um,
        x_um=stack.x_um,
        channels=stack.channels if len(stack.channels) == n_channels else (),
        source=stack.source,
        metadata=stack.metadata,
    )
    said = dict(fused_provenance(fused, stack) if provenance is None else provenance)
    meaning = {
        "image": "fused image",
        "index": "slice of the source that each pixel came from, 0-based",
        "depth": "height of the sharpest point in µm",
        "confidence": "how clearly the slice stands out, 0 to 1",
    }[part]
    return write_stack(path, flat, provenance={"Content": meaning, **said}, overwrite=overwrite)


def write_map(
    path: str | Path,
    report: FocusReport,
    stack: Stack,
    *,
    layer: str | None = None,
    provenance: Mapping[str, str] | None = None,
    overwrite: bool = False,
) -> Path:
    """Write the focus map of each slice, (Z, gy, gx) float32, with a patch as pixel; see `write_stack`.

    Parameters
    ----------
    path : path
        Ends in .tif or .tiff.
    report : FocusReport
        What scoring found.
    stack : Stack
        What was scored.
    layer : str, optional
        Write this one of ``report.layers`` in the place of the focus values.
    provenance : mapping of str to str, optional
        `score_provenance` where not given.
    overwrite : bool
        Whether a file that is there is replaced. The source never is.
    """
    height, width = report.grid.cell_px
    grid = Stack(
        report.maps if layer is None else report.layers[layer],
        "ZYX",
        name=f"{stack.name} {report.scorer}{'' if layer is None else f' {layer}'}",
        y_um=None if stack.y_um is None else stack.y_um * height,
        x_um=None if stack.x_um is None else stack.x_um * width,
        z_um=stack.z_um,
        z_positions_um=stack.z_positions_um,
        source=stack.source,
        metadata=stack.metadata,
    )
    said = dict(score_provenance(report, stack) if provenance is None else provenance)
    focus = f"focus map, {report.units}, higher is sharper"
    content = {"Content": focus if layer is None else LAYERS.get(layer, layer)}
    return write_stack(path, grid, provenance={**content, **said}, overwrite=overwrite)


def name_beside(path: Path, part: str) -> str:
    """Name of a file beside another: ``maps.ome.tif`` and ``"class"`` give ``maps_class.ome.tif``."""
    ending = re.search(r"(\.ome)?\.tiff?$", path.name, re.IGNORECASE)
    stem = path.name if ending is None else path.name[: ending.start()]
    return f"{stem}_{part}{path.name[len(stem) :]}"


def write_scores_csv(path: str | Path, report: FocusReport, *, overwrite: bool = False) -> Path:
    """Write a row for each slice: slice (0-based), z_um, scorer, value, best, good, and what else the scorer knows.

    `best` and `good` are 1 or 0; what is not known is empty. UTF-8 with commas, for Excel and pandas.

    Raises
    ------
    InputError
        If it can't be written there; nothing is left half-written.
    """
    n = len(report.values)
    more = {k: list(v) for k, v in report.extras.items() if isinstance(v, (list, tuple, np.ndarray)) and len(v) == n}
    good = report.decision.good
    out = io.StringIO()
    table = csv.writer(out, lineterminator="\n")
    table.writerow(["slice", "z_um", "scorer", "value", "best", "good", *more])
    for z, value in enumerate(report.values):
        height = None if report.heights_um is None else float(report.heights_um[z])
        is_good = good is not None and good[0] <= z <= good[1]
        row = [z, height, report.scorer, float(value), int(z == report.decision.best), int(is_good)]
        table.writerow([_cell(v) for v in (*row, *(column[z] for column in more.values()))])
    return write_text(path, out.getvalue(), overwrite=overwrite)


def write_text(path: str | Path, text: str, *, overwrite: bool = False) -> Path:
    """Write a text file (a table of scores or picks) whole or not at all, in UTF-8.

    Raises
    ------
    InputError
        If it can't be written there.
    """
    path = Path(path)
    with replacing(path, overwrite=overwrite) as part:
        part.write_text(text, encoding="utf-8", newline="")
    return path


def _cell(value: Any) -> Any:
    missing = value is None or (isinstance(value, (float, np.floating)) and not math.isfinite(value))
    return "" if missing else value


def _planes(stack: Stack, axes: str, dtype: np.dtype[Any]) -> Iterator[NDArray[Any]]:
    """The planes in the order of `axes`; read one by one, infinite depths and all."""
    leading = axes[: axes.index("Y")]
    own = [a for a in stack.axes if a not in "YXS"]
    for where in np.ndindex(*(stack.size(a) for a in leading)):
        at = dict(zip(leading, where, strict=True))
        yield np.ascontiguousarray(stack.data[tuple(at.get(a, 0) for a in own)], dtype)


def _imagej_options(stack: Stack, provenance: Mapping[str, str]) -> dict[str, Any]:
    metadata: dict[str, Any] = {"mode": "composite"} if stack.n_channels > 1 else {}
    options: dict[str, Any] = {"imagej": True, "metadata": metadata}
    if stack.y_um and stack.x_um:
        options["resolution"] = (1 / stack.x_um, 1 / stack.y_um)
    if (stack.y_um and stack.x_um) or stack.z_um:
        metadata["unit"] = "um"
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
