"""Regions drawn by hand: a shapes layer on its image, and its outlines in the image's pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QObject, QTimer, Signal

from napari_focusstack.widgets.focus_state import Polygons
from napari_focusstack.widgets.layers import METADATA, Frame, frame_of, identity, place, source_id, stack_of

AREAS = ("rectangle", "ellipse", "polygon")
"""Shapes that hold an area; lines and paths don't."""

ELLIPSE_POINTS = 64


def add_region_layer(viewer: Any, frame: Frame, *, edge_px: float = 2.0) -> Any:
    """Add an empty shapes layer in the image's pixels, ready to draw an outline with the mouse."""
    placed = place(np.empty((0, 0)), "YX", like=frame, provenance={"role": "region"})
    layer = viewer.add_shapes(
        name=f"region {frame.name}",
        ndim=2,
        edge_color="#cc79a7",
        face_color="#cc79a722",
        edge_width=edge_px,
        opacity=1.0,
        **placed.kwargs,
    )
    layer.mode = "add_polygon_lasso"
    return layer


def is_region_layer(layer: Any) -> bool:
    """Whether `add_region_layer` made it."""
    return bool(layer.metadata.get(METADATA, {}).get("role") == "region")


def outlines(shapes: Any, frame: Frame) -> Polygons:
    """Outlines of a shapes layer's areas in (y, x) pixels of the image that `frame` is of."""
    own = frame_of(shapes)
    rows = [own.axes.index("Y"), own.axes.index("X")]
    image_rows = [frame.axes.index("Y"), frame.axes.index("X")]
    image = np.eye(3)
    image[:2, :2] = frame.matrix[np.ix_(image_rows, image_rows)]
    image[:2, 2] = frame.matrix[image_rows, -1]
    to_pixels = np.linalg.inv(image)
    found = []
    for kind, vertices in zip(shapes.shape_type, shapes.data, strict=True):
        if kind not in AREAS:
            continue
        points = _ellipse(np.asarray(vertices)) if kind == "ellipse" else np.asarray(vertices, float)
        world = points @ own.matrix[:-1, :-1].T + own.matrix[:-1, -1]
        yx = world[:, rows] @ to_pixels[:2, :2].T + to_pixels[:2, 2]
        found.append(tuple((float(y), float(x)) for y, x in yx))
    return tuple(found)


def _ellipse(corners: NDArray[Any]) -> NDArray[np.float64]:
    """Points on the ellipse that touches the middles of a box's sides."""
    centre = corners.mean(axis=0)
    a, b = (corners[0] + corners[1]) / 2 - centre, (corners[1] + corners[2]) / 2 - centre
    turn = np.linspace(0, 2 * np.pi, ELLIPSE_POINTS, endpoint=False)[:, None]
    points: NDArray[np.float64] = centre + np.cos(turn) * a + np.sin(turn) * b
    return points


SETTLED_MS = 60
"""While an outline is being drawn it is read this often at most."""


class RegionTool(QObject):
    """Keeps the region layer of each stack and tells when what is drawn there changes.

    Signals
    -------
    changed()
        Another region holds now.
    """

    changed = Signal()

    def __init__(self, viewer: Any, parent: QObject) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._source: Any = None
        self._shapes: Any = None
        self._region: Polygons = ()
        self._settled = QTimer(self)
        self._settled.setSingleShot(True)
        self._settled.setInterval(SETTLED_MS)
        self._settled.timeout.connect(self._read)

    @property
    def region(self) -> Polygons:
        """The outlines drawn on the current stack; empty where none are."""
        return self._region

    def follow(self, source: Any) -> None:
        """Take the region layer of another stack, if it has one."""
        self._source = source
        regions = [] if source is None else [x for x in self._viewer.layers if is_region_layer(x)]
        self._take(next((x for x in regions if source_id(x) == identity(source)), None))

    def draw(self) -> None:
        """Let the user draw on the current stack."""
        if self._source is None:
            return
        if self._shapes is None:
            edge_px = max(1.0, max(stack_of(self._source).plane_shape) / 600)
            self._take(add_region_layer(self._viewer, frame_of(self._source), edge_px=edge_px))
        self._viewer.layers.selection.active = self._shapes
        if not self._region:
            self._shapes.mode = "add_polygon_lasso"

    def forget(self, layer: Any) -> None:
        """Take note that a layer was deleted."""
        if layer is self._shapes:
            self._take(None)

    def _take(self, shapes: Any) -> None:
        if shapes is not self._shapes:
            if self._shapes is not None:
                self._shapes.events.data.disconnect(self._on_data)
            self._shapes = shapes
            if shapes is not None:
                shapes.events.data.connect(self._on_data)
        self._read()

    def _on_data(self, _event: Any = None) -> None:
        self._settled.start()

    def _read(self) -> None:
        drawn: Polygons = ()
        if self._shapes is not None and self._source is not None:
            drawn = outlines(self._shapes, frame_of(self._source))
        if drawn != self._region:
            self._region = drawn
            self.changed.emit()
