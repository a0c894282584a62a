"""One layer that is the original left of a line and the restored image right of it.

The line is drawn into the layer's own pixels: it lies right however the layer is scaled, moved or turned, and goes when
the layer goes. Its dashes are dark and bright in turn, so it shows on dark and on bright images.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QObject, QTimer, Signal

from napari_focusstack.core.errors import InputError
from napari_focusstack.core.lazy import in_memory
from napari_focusstack.core.progress import Job, Progress
from napari_focusstack.core.stack import Stack
from napari_focusstack.widgets.job import JobRunner
from napari_focusstack.widgets.layers import frame_of, place, shown_at, stack_of

SETTLED_MS = 60
"""Planes are read once the sliders have stood still for so long."""
LINES_ACROSS = 250
"""The line takes one part in so many of the image's width, and a pixel at least."""
DASHES = 24
"""Pairs of dashes along the line."""

Planes = tuple[NDArray[Any], NDArray[Any]]


@dataclass(frozen=True, eq=False)
class Reading:
    """Makes the job that reads a plane of each of two stacks.

    Attributes
    ----------
    stacks : (Stack, Stack)
        Before and after.
    where : (tuple, tuple)
        Index of the plane in the data of each.
    """

    stacks: tuple[Stack, Stack]
    where: tuple[tuple[int, ...], tuple[int, ...]]

    def __call__(self) -> Job[Planes]:
        """Read; where the restored one does not have the plane, it is the original's twice."""
        yield Progress(0, 2, "reading")
        before, after = (in_memory(s.data[where]) for s, where in zip(self.stacks, self.where, strict=True))
        return before, after if after.shape == before.shape else before


class Wipe(QObject):
    """Shows two layers in one. Their planes are read in a thread, when the sliders stand still.

    Parameters
    ----------
    viewer : napari.Viewer
        The viewer that they are in.

    Signals
    -------
    removed
        The user deleted the layer; the wipe has stopped.
    """

    removed = Signal()

    def __init__(self, viewer: Any, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._before: Any = None
        self._after: Any = None
        self._shown: Any = None
        self._planes: Planes | None = None
        self._share = 0.5
        self.runner = JobRunner(self)
        self.runner.succeeded.connect(self._on_read)
        self._settled = QTimer(self)
        self._settled.setSingleShot(True)
        self._settled.setInterval(SETTLED_MS)
        self._settled.timeout.connect(self._read)

    def start(self, before: Any, after: Any, share: float) -> None:
        """Add the layer as soon as the planes are read; what was shown before goes.

        Parameters
        ----------
        before, after : napari layers
            Of the same image; both in the viewer.
        share : float
            Where the line stands: 0 shows `after` alone, 1 `before` alone.
        """
        self.stop()
        self._before, self._after, self._share = before, after, share
        self._viewer.dims.events.point.connect(self._on_slider)
        self._viewer.layers.events.removed.connect(self._on_removed)
        self._read()

    def shows(self, before: Any, after: Any) -> bool:
        """Whether it is these two layers that are shown."""
        return self._before is before and self._after is after

    def stop(self) -> None:
        """Take the layer away again."""
        if self._before is None:
            return
        self._settled.stop()
        self.runner.cancel()
        self._viewer.dims.events.point.disconnect(self._on_slider)
        self._viewer.layers.events.removed.disconnect(self._on_removed)
        shown, self._shown, self._planes, self._before, self._after = self._shown, None, None, None, None
        if shown is not None and shown in self._viewer.layers:
            self._viewer.layers.remove(shown)

    def move(self, share: float) -> None:
        """Move the line; where the layer is not shown yet, it will begin there.

        Parameters
        ----------
        share : float
            Share of the width that shows the original, 0 … 1.
        """
        self._share = share
        if self._shown is not None:
            self._shown.data = self._split()

    def _on_slider(self, event: Any = None) -> None:
        self._settled.start()

    def _on_removed(self, event: Any) -> None:
        if self._shown is not None and event.value is self._shown:
            self.stop()
            self.removed.emit()

    def _read(self) -> None:
        """Have the plane that is shown read, of both."""
        if self._before not in self._viewer.layers or self._after not in self._viewer.layers:
            return
        try:
            found = [_plane_of(layer, self._viewer.dims) for layer in (self._before, self._after)]
        except (InputError, IndexError):
            return
        (before, at), (after, there) = found
        self.runner.start(Reading((before, after), (at, there)))

    def _on_read(self, planes: Planes) -> None:
        self._planes = planes
        if self._shown is not None:
            self.move(self._share)
            return
        before = self._before
        axes, provenance = "YXS" if before.rgb else "YX", {"role": "before | after"}
        placed = place(self._split(), axes, like=frame_of(before), provenance=provenance)
        look = {} if before.rgb else {"contrast_limits": before.contrast_limits, "colormap": before.colormap.name}
        active = self._viewer.layers.selection.active
        self._shown = self._viewer.add_image(placed.data, **placed.kwargs, **look, name=f"before | after {before.name}")
        self._viewer.layers.selection.active = active

    def _split(self) -> NDArray[Any]:
        assert self._planes is not None
        before, after = self._planes
        edge = round(self._share * before.shape[1])
        split: NDArray[Any] = np.concatenate([before[:, :edge], after[:, edge:]], axis=1)
        if 0 < edge < before.shape[1]:
            _draw_line(split, edge, self._tones(before.dtype))
        return split

    def _tones(self, dtype: np.dtype[Any]) -> tuple[float, float]:
        """What is shown as dark and as bright."""
        layer = self._before if self._shown is None else self._shown
        if layer.rgb:
            return 0, np.iinfo(dtype).max if dtype.kind in "ui" else 1
        low, high = layer.contrast_limits
        return low, high


def line_of(edge: int, width: int) -> slice:
    """Columns that the line before column `edge` of an image takes."""
    thick = max(1, round(width / LINES_ACROSS))
    start = max(0, edge - (thick + 1) // 2)
    return slice(start, start + thick)


def _draw_line(image: NDArray[Any], edge: int, tones: tuple[float, float]) -> None:
    """Draw the dashes into an image."""
    height, width = image.shape[:2]
    bright = np.arange(height) * 2 * DASHES // height % 2 == 1
    columns = line_of(edge, width)
    for rows, tone in ((~bright, tones[0]), (bright, tones[1])):
        limits = np.iinfo(image.dtype) if image.dtype.kind in "ui" else None
        image[rows, columns] = tone if limits is None else np.clip(round(tone), limits.min, limits.max)


def _plane_of(layer: Any, dims: Any) -> tuple[Stack, tuple[int, ...]]:
    """The layer as a stack, and where in its data the plane lies that is shown."""
    stack, shown = stack_of(layer), shown_at(layer, dims)
    return stack, tuple(shown[a] for a in stack.axes if a in "PTCZ")
