"""*Preview*: what *Fuse* would make of the region on screen, at a size that takes about a second."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from napari_focusstack.core.fusion import fuse_series
from napari_focusstack.core.progress import Job, Progress, relay
from napari_focusstack.core.report import Grid
from napari_focusstack.widgets.fuse_run import Source
from napari_focusstack.widgets.layers import Placed, place

VALUES = 6_000_000
"""About so many values, over all slices and colours, are fused in a second."""

CV2_TYPES = ("uint8", "uint16", "int16", "float32", "float64")


@dataclasses.dataclass(frozen=True)
class Region:
    """A rectangle of an image in pixels, ends excluded."""

    y0: int
    y1: int
    x0: int
    x1: int


def visible_region(layer: Any) -> Region:
    """The part of an image layer that is on screen (all of it in the 3-D view, or where none of it is)."""
    shape = layer.data[0].shape if layer.multiscale else layer.data.shape
    height, width = shape[-3:-1] if layer.rgb else shape[-2:]
    (y0, x0), (y1, x1) = (np.asarray(corner)[-2:] for corner in layer.corner_pixels)
    region = Region(max(0, int(y0)), min(height, int(y1) + 1), max(0, int(x0)), min(width, int(x1) + 1))
    if min(region.y1 - region.y0, region.x1 - region.x0) < 16:
        return Region(0, height, 0, width)
    return region


class PreviewJob:
    """Makes the job of a preview: the region, reduced, fused as asked for; returns what to show and where.

    Parameters
    ----------
    source : Source
        What to fuse; one layer.
    settings : FuseSettings
        How; the slices are not aligned for a preview.
    region : Region
        What of it.
    time, position : int
        Time point and position.
    """

    def __init__(self, source: Source, settings: Any, region: Region, *, time: int, position: int) -> None:
        self.source = source
        self.settings = settings
        self.region = region
        self.time = time
        self.position = position

    def __call__(self) -> Job[Placed]:
        """Make the job; called in the thread that runs it."""
        series = self.source.stack.series(t=self.time, p=self.position)
        if series.n_channels > 1:
            series = series.only_channel(series.find_channel(self.settings.drive or 0))
        last = series.n_slices - 1 if self.settings.last is None else self.settings.last
        slices = range(self.settings.first or 0, last + 1)
        r = self.region
        values = (r.y1 - r.y0) * (r.x1 - r.x0) * len(slices) * (3 if series.is_rgb else 1)
        step = max(1, math.ceil(math.sqrt(values / VALUES)))
        planes = []
        for i, z in enumerate(slices, 1):
            planes.append(_reduced(series.plane(z)[r.y0 : r.y1, r.x0 : r.x1], step))
            yield Progress(i * 400 // len(slices), 1000, "Reading for the preview")
        small = dataclasses.replace(series, data=np.stack(planes), z_positions_um=None)
        job = fuse_series(small, method=self.settings.method)
        fused = yield from relay(job, done=400, total=1000, message="Fusing the preview")
        height, width = planes[0].shape[:2]
        grid = Grid((height, width), (float(step), float(step)), (float(r.y0), float(r.x0)))
        provenance = {"role": "preview", "method": fused.method}
        return place(fused.image, fused.axes, like=self.source.frame, grid=grid, provenance=provenance)


def _reduced(plane: NDArray[Any], step: int) -> NDArray[Any]:
    """Mean of blocks of `step` × `step` pixels; what is left over at the edges is cut off."""
    if step == 1:
        return plane
    height, width = plane.shape[0] // step, plane.shape[1] // step
    plane = plane[: height * step, : width * step]
    if plane.dtype.name not in CV2_TYPES:
        return plane[::step, ::step]
    return np.asarray(cv2.resize(np.ascontiguousarray(plane), (width, height), interpolation=cv2.INTER_AREA))
