"""*Retouch*: paint a slice over the fused image; image, index and height follow the brush, and Ctrl-Z.

What is painted is a Labels layer (slice + 1, 0 where nothing is painted), so napari's own brush, eraser and undo do the
work. The fused image is a function of it: wherever it changes, the pixels are made anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QObject, QTimer, Signal

from napari_focusstack.core.stack import Stack
from napari_focusstack.widgets.fuse_run import FuseResult, Made, lay
from napari_focusstack.widgets.layers import METADATA, shown_at

BRUSH_PX = 24
FOLLOW_MS = 40


@dataclass(eq=False)
class Canvas:
    """The arrays that are painted on, in place, and what they were.

    Attributes
    ----------
    series : Stack
        The slices.
    images : list of (Y, X) or (Y, X, 3) array
        The fused image of each channel.
    indices, depths : list of (Y, X) array
        One, or one a channel; no depths where the z step is not known.
    """

    series: Stack
    images: list[NDArray[Any]]
    indices: list[NDArray[Any]]
    depths: list[NDArray[Any]]
    before: dict[str, list[NDArray[Any]]] = field(default_factory=dict)
    planes: dict[tuple[int, int], NDArray[Any]] = field(default_factory=dict)

    @classmethod
    def of(cls, result: FuseResult, series: Stack) -> Canvas:
        """Views of the arrays of a result of one time point and position."""
        fused = result.fused
        n_extra = sum(a in "PT" for a in fused.axes)
        first = (0,) * n_extra
        image, index = fused.image[first], fused.index[first]
        depth = None if fused.depth_um is None else fused.depth_um[first]
        canvas = cls(
            series,
            list(image) if "C" in fused.axes else [image],
            list(index) if "C" in result.map_axes else [index],
            [] if depth is None else list(depth) if "C" in result.map_axes else [depth],
        )
        canvas.before = {
            "images": [a.copy() for a in canvas.images],
            "indices": [a.copy() for a in canvas.indices],
            "depths": [a.copy() for a in canvas.depths],
        }
        return canvas

    def paint(self, labels: NDArray[Any], where: tuple[slice, slice]) -> None:
        """Make the pixels of a rectangle anew: from slice ``label - 1``, or as they were where the label is 0."""
        part = labels[where]
        for name, arrays in (("images", self.images), ("indices", self.indices), ("depths", self.depths)):
            for array, was in zip(arrays, self.before[name], strict=True):
                array[where] = was[where]
        heights = self.series.heights_um
        for label in np.unique(part[part > 0]):
            z, here = int(label) - 1, part == label
            if z >= self.series.n_slices:
                continue
            for c, image in enumerate(self.images):
                image[where][here] = self._plane(z, c)[where][here]
            for index in self.indices:
                index[where][here] = z
            for depth in self.depths:
                if heights is not None:
                    depth[where][here] = heights[z]

    def _plane(self, z: int, c: int) -> NDArray[Any]:
        """A plane, read once: the brush comes back to the same few slices."""
        if (z, c) not in self.planes:
            if len(self.planes) > 8 * len(self.images):
                self.planes.clear()
            self.planes[z, c] = self.series.plane(z, c=c)
        return self.planes[z, c]


class Retoucher(QObject):
    """Keeps a fused image in step with a Labels layer that is painted.

    Parameters
    ----------
    viewer : napari.Viewer
        Where the result is shown.
    made : Made
        The result and its layers.
    series : Stack
        The slices, from `SeriesJob`.

    Signals
    -------
    slice_changed(int)
        The slice that the brush paints, which follows the z slider.
    """

    slice_changed = Signal(int)

    def __init__(self, viewer: Any, made: Made, series: Stack, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self.made = made
        self._canvas = Canvas.of(made.result, series)
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self._follow)
        shape = series.plane_shape
        kind = np.uint8 if series.n_slices < 255 else np.uint16
        self._painted = np.zeros(shape, kind)
        placed = lay(np.zeros(shape, kind), "YX", result=made.result, role="retouch")
        known = made.of_role("fused")[-1].metadata.get(METADATA, {})
        self._retouched: Mapping[str, int] = known.get("retouched", {})
        self.labels = viewer.add_labels(
            placed.data, **placed.kwargs, name=f"{made.result.source.frame.name} retouch", opacity=0.8
        )
        # Outlines only: the image beneath is what matters.
        self.labels.contour = 1
        self.labels.brush_size = BRUSH_PX
        self.labels.events.labels_update.connect(self._on_painted)
        self.labels.events.set_data.connect(self._on_painted)
        viewer.layers.selection.active = self.labels
        self.labels.mode = "paint"
        viewer.dims.events.point.connect(self._on_slider)
        self._on_slider()

    @property
    def slice(self) -> int:
        """The slice that the brush paints."""
        return int(self.labels.selected_label) - 1

    def finish(self) -> None:
        """Put the brush down for good: what was painted stays in the image, the painted layer goes."""
        self._timer.stop()
        self._viewer.dims.events.point.disconnect(self._on_slider)
        self.labels.events.labels_update.disconnect(self._on_painted)
        self.labels.events.set_data.disconnect(self._on_painted)
        self._follow()
        self.show_slices(False)
        if self.labels in self._viewer.layers:
            self._viewer.layers.remove(self.labels)
        fused = [layer for layer in self.made.of_role("fused") if layer in self._viewer.layers]
        if fused:
            self._viewer.layers.selection.active = fused[-1]

    def show_slices(self, shown: bool) -> None:
        """Hide the fused image, to look at the slices beneath, or show it again."""
        for layer in self.made.of_role("fused"):
            layer.visible = not shown

    def _on_slider(self, event: Any = None) -> None:
        """The z slider moved: paint the slice that it shows."""
        z = self._shown_slice()
        self.labels.selected_label = z + 1
        self.slice_changed.emit(z)

    def _shown_slice(self) -> int:
        source = self.made.result.source.frame.name
        layer = next((o for o in self._viewer.layers if o.name == source), None)
        if layer is not None:
            return shown_at(layer, self._viewer.dims).get("Z", 0)
        return self.slice if self.slice >= 0 else 0

    def _on_painted(self, event: Any = None) -> None:
        """Follow a little later, and once for all that is painted until then."""
        if not self._timer.isActive():
            self._timer.start(FOLLOW_MS)

    def _follow(self) -> None:
        """Make anew what changed since the last time."""
        labels = np.asarray(self.labels.data).reshape(self._painted.shape)
        changed = labels != self._painted
        if not changed.any():
            return
        rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
        where = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
        self._canvas.paint(labels, where)
        self._painted[where] = labels[where]
        said = retouched(self._painted, before=self._retouched)
        for new, layer in self.made.layers:
            layer.metadata[METADATA] = {**layer.metadata.get(METADATA, {}), "retouched": said}
            if layer.visible or new.role == "fused":
                layer.refresh(thumbnail=False, extent=False)


def retouched(labels: NDArray[Any], *, before: Mapping[str, int]) -> dict[str, int]:
    """How many pixels were painted from each slice, now and before."""
    values, counts = np.unique(labels[labels > 0], return_counts=True)
    said = dict(before)
    for value, count in zip(values, counts, strict=True):
        name = f"slice {int(value) - 1}"
        said[name] = said.get(name, 0) + int(count)
    return said
