"""Results to files: TIFF that Fiji and napari open with the right scale, and tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from numpy.typing import NDArray

from napari_focusstack.core.errors import InputError
from napari_focusstack.core.fusion.fused import Fused
from napari_focusstack.core.progress import Job, Progress, drain
from napari_focusstack.core.report import FocusReport
from napari_focusstack.core.stack import Stack, as_stack
from napari_focusstack.io.atomic import replacing, replacing_all
from napari_focusstack.io.encode import write_planes
from napari_focusstack.io.map_layers import LAYERS
from napari_focusstack.io.provenance import FOCUS_MAP, fused_provenance, score_provenance, source_files
from napari_focusstack.io.scores import ScoredPlace, scores_table

Part = Literal["image", "index", "depth", "confidence"]
CONTENT: Mapping[Part, str] = {
    "image": "fused image",
    "index": "slice of the source that each pixel came from, 0-based",
    "depth": "height of the sharpest point in µm",
    "confidence": "how clearly the slice stands out, 0 to 1",
}
"""What each part is, in words."""

_TABLES = (".csv", ".tsv", ".txt")


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


@dataclass(frozen=True, eq=False)
class Output:
    """A TIFF to write.

    Attributes
    ----------
    path : Path
        Ends in .tif or .tiff.
    stack : Stack
        What to write; a single position.
    provenance : mapping of str to str
        Where it comes from: a map annotation in OME-TIFF, the image's Info in ImageJ TIFF (Image > Show Info).
    """

    path: Path
    stack: Stack
    provenance: Mapping[str, str] = field(default_factory=dict)


def write_stack(
    path: str | Path, stack: Stack, *, provenance: Mapping[str, str] | None = None, overwrite: bool = False
) -> Path:
    """Write a stack or image as TIFF, plane by plane.

    A name that ends in ``.ome.tif`` becomes OME-TIFF. Any other ``.tif`` becomes ImageJ TIFF where ImageJ can hold it
    (8 and 16 bit without sign, float32, RGB of 8 bit, up to 4 GB, even z steps), and OME-TIFF where it can't.

    Parameters
    ----------
    path : path
        Ends in .tif or .tiff.
    stack : Stack
        What to write; its pixel size, z step or heights, and channel names go into the file.
    provenance : mapping of str to str, optional
        See `Output`.
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
    return drain(write_job([Output(Path(path), stack, provenance or {})], overwrite=overwrite))[0]


def write_job(outputs: Sequence[Output], *, overwrite: bool = False) -> Job[list[Path]]:
    """Write several TIFFs as a job, all of them or none: each beside its place, renamed together at the end.

    Parameters
    ----------
    outputs : sequence of Output
        What to write where; see `write_stack` for the formats.
    overwrite : bool
        Whether files that are there are replaced. A source never is.

    Yields
    ------
    Progress
        One for each plane, and a last one before the files get their names: a job that is closed there, or anywhere
        before, leaves nothing behind and touches nothing that was there.

    Returns
    -------
    list of Path
        The paths of `outputs`.

    Raises
    ------
    InputError
        If one can't be written; then none is.
    """
    paths = [check_tiff_name(output.path) for output in outputs]
    for output in outputs:
        if output.stack.n_positions > 1:
            raise InputError(
                f"'{output.stack.name}' has {output.stack.n_positions} positions: write each into a file of its own."
            )
    sources = [file for output in outputs for file in source_files(output.stack)]
    total = sum(_n_planes(output.stack) for output in outputs) + 1
    done = 0
    with replacing_all(paths, overwrite=overwrite, sources=sources) as parts:
        for output, part in zip(outputs, parts, strict=True):
            ome = output.path.name.lower().endswith((".ome.tif", ".ome.tiff"))
            for _ in write_planes(part, output.stack, provenance=output.provenance, ome=ome):
                done += 1
                yield Progress(done, total, f"Writing {output.path.name}")
        yield Progress(total, total, "Finishing the files")
    return paths


def position_paths(path: str | Path, n_positions: int) -> list[Path]:
    """Names of the files of a result with so many positions, as a TIFF holds one: ``A_fused_p0.ome.tif``, …."""
    path = Path(path)
    if n_positions == 1:
        return [path]
    ending = next((e for e in (".ome.tif", ".ome.tiff") if path.name.lower().endswith(e)), path.suffix)
    stem = path.name[: len(path.name) - len(ending)]
    return [path.with_name(f"{stem}_p{p}{path.name[len(stem) :]}") for p in range(n_positions)]


def part_stack(fused: Fused, stack: Stack, part: Part) -> Stack:
    """A part of a fused image as a stack with the calibration of its source.

    Parameters
    ----------
    fused : Fused
        What a fusion method returned; its arrays may have axes P and T in front, which then ``fused.axes`` names.
    stack : Stack
        What it was fused from.
    part : {"image", "index", "depth", "confidence"}
        Which part.

    Returns
    -------
    Stack
        Axes P and T of length 1 are left out.

    Raises
    ------
    InputError
        For the depth of a stack whose z step is not known.
    """
    if part == "depth" and fused.depth_um is None:
        raise InputError(f"The z step of '{stack.name}' is not known, so there is no depth in µm: give the z step.")
    arrays = {"image": fused.image, "index": fused.index, "depth": fused.depth_um, "confidence": fused.confidence}
    data: NDArray[Any] | None = arrays[part]
    assert data is not None
    leading = "".join(a for a in fused.axes if a in "PT")
    axes = fused.axes if part == "image" else leading + ("CYX" if data.ndim == len(leading) + 3 else "YX")
    where = tuple(0 if n == 1 and a in "PT" else slice(None) for a, n in zip(axes, data.shape, strict=True))
    axes = "".join(a for a, w in zip(axes, where, strict=True) if w != 0)
    n_channels = data.shape[-3] if "C" in axes else 1
    return Stack(
        data[where],
        axes,
        name=f"{stack.name} {part}",
        y_um=stack.y_um,
        x_um=stack.x_um,
        channels=stack.channels if len(stack.channels) == n_channels else (),
        source=stack.source,
        metadata=stack.metadata,
    )


def write_fused_job(
    paths: Mapping[Part, str | Path],
    fused: Fused,
    stack: Stack,
    *,
    provenance: Mapping[str, str] | None = None,
    overwrite: bool = False,
) -> Job[list[Path]]:
    """Write parts of a fused image as a job, all of them or none; see `write_job`.

    Parameters
    ----------
    paths : mapping of str to path
        The file of each part that is wanted; of several positions each gets a file, as `position_paths` names them.
    fused : Fused
        What a fusion method returned; its arrays may have axes P and T in front, which then ``fused.axes`` names.
    stack : Stack
        What it was fused from; its calibration goes into the files.
    provenance : mapping of str to str, optional
        `fused_provenance` where not given.
    overwrite : bool
        Whether files that are there are replaced. The source never is.

    Raises
    ------
    InputError
        If one can't be written; and for the depth of a stack whose z step is not known.
    """
    if provenance is None:
        yield Progress(0, 1, "Hashing the source")
    said = dict(fused_provenance(fused, stack) if provenance is None else provenance)
    outputs = []
    for part, path in paths.items():
        flat = part_stack(fused, stack, part)
        for p, where in enumerate(position_paths(path, flat.n_positions)):
            one = _position(flat, p)
            outputs.append(Output(where, one, {"Content": CONTENT[part], **said}))
    return (yield from write_job(outputs, overwrite=overwrite))


def write_fused(
    path: str | Path,
    fused: Fused,
    stack: Stack | NDArray[Any],
    *,
    part: Part = "image",
    provenance: Mapping[str, str] | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a part of a fused image with the calibration of its source and its provenance; see `write_fused_job`.

    Raises
    ------
    InputError
        If it can't be written; and for the depth of a stack whose z step is not known.
    """
    job = write_fused_job({part: path}, fused, as_stack(stack), provenance=provenance, overwrite=overwrite)
    return drain(job)[0]


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
    focus = f"{FOCUS_MAP}, {report.units}, higher is sharper"
    content = {"Content": focus if layer is None else LAYERS.get(layer, layer)}
    return write_stack(path, grid, provenance={**content, **said}, overwrite=overwrite)


def write_scores_csv(path: str | Path, scores: FocusReport | Sequence[ScoredPlace], *, overwrite: bool = False) -> Path:
    """Write the table of scores of one series, or of several with their places: see `scores_table` for the columns.

    UTF-8 with commas, for Excel and pandas.

    Raises
    ------
    InputError
        If it can't be written there; nothing is left half-written.
    """
    places = [ScoredPlace(scores)] if isinstance(scores, FocusReport) else scores
    return write_text(path, scores_table(places), overwrite=overwrite)


def write_text(path: str | Path, text: str, *, overwrite: bool = False) -> Path:
    """Write a text file (a table of scores or picks, a recipe) whole or not at all, in UTF-8.

    A table (``.csv``, ``.tsv``, ``.txt``) begins with the mark by which Excel knows UTF-8: without it, Excel takes the
    umlauts for those of the machine's old code page.

    Raises
    ------
    InputError
        If it can't be written there.
    """
    path = Path(path)
    encoding = "utf-8-sig" if path.suffix.lower() in _TABLES else "utf-8"
    with replacing(path, overwrite=overwrite) as part:
        part.write_text(text, encoding=encoding, newline="")
    return path


def _n_planes(stack: Stack) -> int:
    return stack.n_times * stack.n_channels * stack.n_slices


def _position(stack: Stack, p: int) -> Stack:
    """One position of a stack with all its times."""
    return stack if "P" not in stack.axes else replace(stack, data=stack.data[p], axes=stack.axes[1:])
