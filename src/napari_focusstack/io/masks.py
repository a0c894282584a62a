"""Focus masks to files: the masks and their probability as TIFF, the area in focus of each slice as a table."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_focusstack.core.masks import THRESHOLD, FocusMasks
from napari_focusstack.core.progress import Job
from napari_focusstack.core.stack import Stack
from napari_focusstack.io.provenance import provenance
from napari_focusstack.io.write import Output, write_job

MaskPart = Literal["masks", "probability"]
INSIDE = 255
"""What is in focus, in files: what Fiji takes for a binary mask."""
COLUMNS = ("stack", "slice", "z_um", "share", "area_um2", "method", "threshold")


def mask_provenance(
    masks: FocusMasks, stack: Stack, *, threshold: float = THRESHOLD, more: Mapping[str, Any] | None = None
) -> dict[str, str]:
    """`provenance` of focus masks."""
    parameters = {**masks.parameters, "threshold": threshold}
    cautious = {"Caution": masks.caution} if masks.caution else {}
    return provenance(stack, method=masks.method, parameters=parameters, more=cautious | dict(more or {}))


def write_masks_job(
    paths: Mapping[MaskPart, str | Path],
    masks: FocusMasks,
    stack: Stack,
    *,
    threshold: float = THRESHOLD,
    edited: NDArray[Any] | None = None,
    said: Mapping[str, str] | None = None,
    overwrite: bool = False,
) -> Job[list[Path]]:
    """Write focus masks (0 and 255) and their probability (0 … 1) as a job, all or none; see `write_job`.

    Parameters
    ----------
    paths : mapping of str to path
        The file of each part that is wanted.
    masks : FocusMasks
        What was found.
    stack : Stack
        The series it was found in; its calibration goes into the files.
    threshold : float
        Probability from which on a pixel is in focus.
    edited : (Z, Y, X) array, optional
        The masks where they were painted by hand since, not 0 in focus.
    said : mapping of str to str, optional
        `mask_provenance` where not given.
    overwrite : bool
        Whether files that are there are replaced. The source never is.

    Raises
    ------
    InputError
        If one can't be written; then none is.
    """
    said = mask_provenance(masks, stack, threshold=threshold) if said is None else said
    axes = "ZYX" if "Z" in stack.axes else "YX"
    outputs = []
    for part, path in paths.items():
        if part == "masks":
            data: NDArray[Any] = (masks.mask(threshold) if edited is None else (edited > 0).astype(np.uint8)) * INSIDE
            content = "pixels in focus, 255; others 0"
        else:
            data, content = masks.probability(), "probability that the pixel is in focus, 0 to 1"
        shaped = data if "Z" in axes else data[0]
        one = replace(stack, data=shaped, axes=axes, channels=(), name=f"{stack.name} {part}")
        outputs.append(Output(Path(path), one, {"Content": content, **said}))
    return write_job(outputs, overwrite=overwrite)


def areas_table(masks: FocusMasks, stack: Stack, *, threshold: float = THRESHOLD) -> str:
    """CSV of how much of each slice is in focus: its share of the pixels, and µm² where the pixel size is known."""
    heights = stack.heights_um
    y, x = stack.plane_shape
    area = None if stack.y_um is None or stack.x_um is None else y * stack.y_um * x * stack.x_um
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\r\n")
    table.writerow(COLUMNS)
    for z, share in enumerate(masks.shares(threshold)):
        height = "" if heights is None else f"{heights[z]:.6g}"
        um2 = "" if area is None else f"{share * area:.6g}"
        table.writerow([stack.name, z, height, f"{share:.6g}", um2, masks.method, f"{threshold:g}"])
    return text.getvalue()
