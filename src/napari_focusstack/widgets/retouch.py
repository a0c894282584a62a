"""*Retouch*: paint a slice over the fused image; image, index and height follow the brush, and Ctrl-Z.

What is painted is a Labels layer (slice + 1, 0 where nothing is painted), so napari's own brush, eraser and undo do the
work. The fused image is a function of it: wherever it changes, the pixels are made anew.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from napari.layers import Image
from numpy.typing import NDArray
from qtpy.QtCore import QCoreApplication, QObject, QTimer, Signal

from napari_focusstack.core.progress import Job, Progress
from napari_focusstack.core.stack import Stack
from napari_focusstack.widgets.fuse_channels import channel_layers
from napari_focusstack.widgets.fuse_run import FuseResult, Made, lay, layer_of_id
from napari_focusstack.widgets.job import JobRunner
from napari_focusstack.widgets.layers import METADATA, shown_at

BRUSH_PX = 24
FOLLOW_MS = 40
REST_MS = 150
"""A slice is read when the slider has rested for so long."""

KEPT_SLICES = 8
"""So many slices are kept in memory: the brush comes back to the same few."""


@dataclass(eq=False)
class Canvas:
    """The arrays that are painted on, in place, and what they were.

    Attributes
    ----------
    series : Stack
        The slices.
    images : list of (Y, X) or (Y, X, 3) array
        The fused image of each channel.
    maps : mapping of str to list of (Y, X) array
        ``"index"``, ``"peak"``, ``"confidence"`` and ``"depth"`` (as it is shown, in µm): one, or one a channel.
    before : mapping
        Copies of all of them.
    planes : dict
        The slices that were read, by slice and channel.
    """

    series: Stack
    images: list[NDArray[Any]]
    maps: dict[str, list[NDArray[Any]]]
    before: dict[str, list[NDArray[Any]]] = field(default_factory=dict)
    planes: dict[tuple[int, int], NDArray[Any]] = field(default_factory=dict)

    @classmethod
    def of(cls, result: FuseResult, series: Stack) -> Canvas:
        """Views of the arrays of a result of one time point and position."""
        fused = result.fused
        first = (0,) * sum(a in "PT" for a in fused.axes)
        image = fused.image[first]
        arrays: dict[str, NDArray[Any]] = {"index": fused.index, "peak": result.peak, "confidence": fused.confidence}
        if result.shown is not None:
            arrays["depth"] = result.shown
        maps = {}
        for name, array in arrays.items():
            maps[name] = list(array[first]) if "C" in result.map_axes else [array[first]]
        canvas = cls(series, list(image) if "C" in fused.axes else [image], maps)
        canvas.before = {"image": [a.copy() for a in canvas.images]}
        canvas.before |= {name: [a.copy() for a in found] for name, found in maps.items()}
        return canvas

    def missing(self, slices: Iterable[int]) -> list[int]:
        """Those of some slices that were not read yet."""
        wanted = [z for z in slices if 0 <= z < self.series.n_slices]
        return [z for z in wanted if any((z, c) not in self.planes for c in range(len(self.images)))]

    def keep(self, z: int, c: int, plane: NDArray[Any], *, besides: Collection[int]) -> None:
        """Keep a plane that was read, and few of those that no slice of `besides` needs."""
        if len(self.planes) >= KEPT_SLICES * len(self.images):
            self.planes = {key: found for key, found in self.planes.items() if key[0] in besides}
        self.planes[z, c] = plane

    def paint(self, labels: NDArray[Any], changed: NDArray[np.bool_], where: tuple[slice, slice]) -> None:
        """Make the changed pixels of a rectangle anew: from slice ``label - 1``, or as they were where the label is 0.

        The slices must have been read.
        """
        part, changed = labels[where], changed[where]
        own = changed & (part == 0)
        for name, arrays in (("image", self.images), *self.maps.items()):
            for array, was in zip(arrays, self.before[name], strict=True):
                array[where][own] = was[where][own]
        heights = self.series.heights_um
        for label in np.unique(part[changed & (part > 0)]):
            z, here = int(label) - 1, changed & (part == label)
            if z >= self.series.n_slices:
                continue
            for c, image in enumerate(self.images):
                image[where][here] = self.planes[z, c][where][here]
            # Who paints a slice is sure of it.
            said = {"index": z, "peak": z, "confidence": 1.0, "depth": 0.0 if heights is None else heights[z]}
            for name, arrays in self.maps.items():
                for array in arrays:
                    array[where][here] = said[name]


class PlanesJob:
    """Makes the job that reads slices, a channel at a time; each comes as `Progress.partial`: slice, channel, plane."""

    def __init__(self, series: Stack, slices: Sequence[int], n_channels: int) -> None:
        self.series = series
        self.slices = tuple(slices)
        self.n_channels = n_channels

    def __call__(self) -> Job[None]:
        """Make the job; called in the thread that runs it."""
        wanted = [(z, c) for z in self.slices for c in range(self.n_channels)]
        for i, (z, c) in enumerate(wanted, 1):
            yield Progress(i, len(wanted), f"Reading slice {z}", partial=(z, c, self.series.plane(z, c=c)))


class Retoucher(QObject):
    """Keeps a fused image in step with a Labels layer that is painted; images that lie over it are hidden meanwhile.

    Parameters
    ----------
    viewer : napari.Viewer
        Where the result is shown.
    made : Made
        The result and its layers.
    series : Stack
        The slices, from `SliceJob`.

    Signals
    -------
    slice_changed(int)
        The slice that the brush paints, which follows the z slider.
    reading_changed(bool)
        Slices are read, or all that are needed have been. What is painted meanwhile shows when they have.
    left()
        After `finish`: all that was painted is in the image, the painted layer is gone.
    """

    slice_changed = Signal(int)
    reading_changed = Signal(bool)
    left = Signal()

    def __init__(self, viewer: Any, made: Made, series: Stack, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self.made = made
        self._canvas = Canvas.of(made.result, series)
        self._leaving = False
        self.runner = JobRunner(self)
        self.runner.stepped.connect(self._on_plane)
        self.runner.succeeded.connect(self._on_read)
        self.runner.failed.connect(self._on_unread)
        self.runner.busy_changed.connect(self.reading_changed)
        self._rest = QTimer(self)
        self._rest.setSingleShot(True)
        self._rest.timeout.connect(self._read)
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self._follow)
        shape = series.plane_shape
        kind = np.uint8 if series.n_slices < 255 else np.uint16
        self._painted = np.zeros(shape, kind)
        # Source values, maps or another result may lie over the image that is painted.
        self._hidden = covering(viewer.layers, made)
        self._looking = False
        self._covering: list[Any] = []
        self._uncovered: list[Any] = []
        for layer in self._hidden:
            layer.visible = False
        fused = made.of_role("fused")
        if not any(layer.visible for layer in fused):  # nobody sees what is painted on a hidden image
            for layer in fused:
                layer.visible = True
        placed = lay(np.zeros(shape, kind), "YX", result=made.result, role="retouch")
        known = made.of_role("fused")[-1].metadata.get(METADATA, {})
        self._retouched: Mapping[str, int] = known.get("retouched", {})
        self.labels = viewer.add_labels(
            placed.data, **placed.kwargs, name=f"retouch {made.result.source.frame.name}", opacity=0.8
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

    @property
    def reading(self) -> bool:
        """Whether slices that the brush needs are still to come."""
        return self.runner.busy or self._rest.isActive()

    def finish(self) -> None:
        """Put the brush down for good: what was painted stays in the image, the painted layer goes.

        Where a painted slice is still to be read, this waits for it, and `left` tells when it is done.
        """
        if self._leaving:
            return
        self._leaving = True
        self._timer.stop()
        self._rest.stop()
        self._viewer.dims.events.point.disconnect(self._on_slider)
        self.labels.events.labels_update.disconnect(self._on_painted)
        self.labels.events.set_data.disconnect(self._on_painted)
        self.labels.mode = "pan_zoom"
        self.show_slices(False)
        if not self._canvas.missing(self._unfollowed()):
            self.runner.cancel()
            self._follow()
            self._leave()
            return
        # The widget that holds us may be closed meanwhile.
        self.setParent(QCoreApplication.instance())
        if not self.runner.busy:
            self._read()

    def _leave(self) -> None:
        """Take the painted layer away."""
        if self.labels in self._viewer.layers:
            self._viewer.layers.remove(self.labels)
        for layer in self._hidden:
            layer.visible = True
        fused = [layer for layer in self.made.of_role("fused") if layer in self._viewer.layers]
        if fused:
            self._viewer.layers.selection.active = fused[-1]
        self.left.emit()

    def show_slices(self, shown: bool) -> None:
        """Hide the fused image, to look at the slices beneath, or show it again.

        The slices are shown even where the user has hidden them: an empty canvas is nothing to look at.
        """
        if shown == self._looking:
            return
        self._looking = shown
        if shown:
            self._covering = [layer for layer in self.made.of_role("fused") if layer.visible]
            self._uncovered = [layer for layer in self._sources() if not layer.visible]
        for layer in self._covering:
            layer.visible = not shown
        for layer in self._uncovered:
            layer.visible = shown

    @property
    def has_slices(self) -> bool:
        """Whether the stack is still in the viewer."""
        return bool(self._sources())

    def _sources(self) -> list[Any]:
        source = self.made.result.source
        layer = layer_of_id(self._viewer.layers, source.frame.layer_id)
        if layer is None:
            return []
        return channel_layers(layer, self._viewer.layers) if source.split else [layer]

    def _on_slider(self, event: Any = None) -> None:
        """The z slider moved: paint the slice that it shows."""
        z = self._shown_slice()
        self.labels.selected_label = z + 1
        if self._canvas.missing([z]):
            self._rest.start(REST_MS)
        self.slice_changed.emit(z)

    def _shown_slice(self) -> int:
        layer = layer_of_id(self._viewer.layers, self.made.result.source.frame.layer_id)
        if layer is not None:
            return shown_at(layer, self._viewer.dims).get("Z", 0)
        return self.slice if self.slice >= 0 else 0

    def _on_painted(self, event: Any = None) -> None:
        """Follow a little later, and once for all that is painted until then."""
        if not self._timer.isActive():
            self._timer.start(FOLLOW_MS)

    def _follow(self) -> None:
        """Make anew what changed since the last time, once the slices for it have been read."""
        labels = self._labels()
        changed = labels != self._painted
        if not changed.any():
            return
        if self._canvas.missing(self._unfollowed()):
            self._read()
            return
        rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
        where = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
        self._canvas.paint(labels, changed, where)
        self._painted[where] = labels[where]
        said = retouched(self._painted, before=self._retouched)
        for new, layer in self.made.layers:
            layer.metadata[METADATA] = {**layer.metadata.get(METADATA, {}), "retouched": said}
            if layer.visible or new.role == "fused":
                layer.refresh(thumbnail=False, extent=False)

    @property
    def _n_channels(self) -> int:
        return len(self._canvas.images)

    def _labels(self) -> NDArray[Any]:
        return np.asarray(self.labels.data).reshape(self._painted.shape)

    def _unfollowed(self) -> list[int]:
        """The slices that were painted and are not in the image yet."""
        labels = self._labels()
        return [int(label) - 1 for label in np.unique(labels[labels != self._painted]) if label]

    def _read(self) -> None:
        """Read what the brush needs now in a thread: an aligned slice may take seconds."""
        self._rest.stop()
        shown = set() if self._leaving else {self.slice}
        missing = self._canvas.missing(sorted({*shown, *self._unfollowed()}))
        if missing:
            self.runner.start(PlanesJob(self._canvas.series, missing, self._n_channels))

    def _on_plane(self, step: Progress) -> None:
        z, c, plane = step.partial
        self._canvas.keep(z, c, plane, besides={self.slice, *self._unfollowed()})

    def _on_read(self, _: Any = None) -> None:
        self._follow()
        if self._leaving and not self.runner.busy:
            self._leave()

    def _on_unread(self, _: str) -> None:
        """A slice can't be read, as the user was told: there is nothing to wait for."""
        if self._leaving:
            self._leave()


def covering(layers: Sequence[Any], made: Made) -> list[Any]:
    """Image layers that are visible above the fused image of a result."""
    fused = [layer for layer in made.of_role("fused") if layer in layers]
    lowest = min((layers.index(layer) for layer in fused), default=len(layers))
    return [x for x in layers[lowest:] if isinstance(x, Image) and x.visible and not any(x is own for own in fused)]


def retouched(labels: NDArray[Any], *, before: Mapping[str, int]) -> dict[str, int]:
    """How many pixels were painted from each slice, now and before."""
    values, counts = np.unique(labels[labels > 0], return_counts=True)
    said = dict(before)
    for value, count in zip(values, counts, strict=True):
        name = f"slice {int(value) - 1}"
        said[name] = said.get(name, 0) + int(count)
    return said
