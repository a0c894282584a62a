"""The layers that the Focus widget lays over a stack: focus map, what a network looks at, outline of the specimen."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
from napari.layers import Image
from napari.utils.colormaps import Colormap
from numpy.typing import NDArray
from qtpy.QtCore import QObject, QTimer, Signal

from napari_focusstack.core.report import FocusReport, Grid
from napari_focusstack.widgets.fading import fading
from napari_focusstack.widgets.focus_state import Scored, Target
from napari_focusstack.widgets.layers import Frame, Placed, identity, place
from napari_focusstack.widgets.map_views import MapView, patch_text
from napari_focusstack.widgets.renewal import renewed

OUTLINE_COLOURS = Colormap([[0.9, 0.62, 0.0, 0.0], [0.9, 0.62, 0.0, 1.0]], name="outline")
MAP_OPACITY = 0.45
ATTENTION_OPACITY = 0.7
COLOUR_STEPS = 17
"""Colours of a colormap that a legend is drawn with."""

REMOVAL_MS = 60
"""Pause between removing two layers, and between showing a hidden layer and removing it. napari 0.9 crashes in OpenGL
if two layers go, or a hidden one goes, without being drawn between (with Mesa's software renderer every time; compare
napari issue 7345)."""


class FocusMap(Image):
    """An image layer of patches that tells, under the mouse, what the scorer said of a patch."""

    def __init__(self, data: Any, *, report: FocusReport, kind: str, axes: str, **kwargs: Any) -> None:
        super().__init__(data, **kwargs)
        self.report = report
        self.kind = kind
        self.axes = axes

    @property
    def _type_string(self) -> str:
        # napari chooses controls, menus and writers by this name.
        return "image"

    def get_status(self, position: Any = None, *, world: bool = False, **kwargs: Any) -> dict[str, str]:
        """Status bar text: slice, patch and value in the place of bare coordinates."""
        status: dict[str, str] = super().get_status(position, world=world, **kwargs)
        if position is None:
            return status
        index = np.rint(self.world_to_data(position) if world else np.asarray(position)).astype(int)
        at = {"Z": 0} | dict(zip(self.axes, index[-self.ndim :], strict=True))
        inside = all(0 <= at[a] < n for a, n in zip("ZYX", self.report.maps.shape, strict=True))
        if inside:
            status["value"] = status["coordinates"] = patch_text(self.report, at["Z"], at["Y"], at["X"])
            status["coords"] = ""
        return status


@dataclass(frozen=True)
class Shown:
    """What an overlay shows: nothing is drawn anew while it stays the same."""

    target: Target
    scorer: str
    basis: Any
    grid: Grid


class Overlays(QObject):
    """Adds, updates and removes the three layers; each exists once.

    Parameters
    ----------
    viewer : napari viewer or ViewerModel
        Where they are shown.

    Signals
    -------
    recoloured()
        The user gave the map other colours or limits.
    """

    recoloured = Signal()

    def __init__(self, viewer: Any, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self.map: FocusMap | None = None
        self.outline: Image | None = None
        self.attention: Image | None = None
        self._map_shown: Shown | None = None
        self._map_selected = False
        self._outline_shown: Target | None = None
        self._attention_shown: Shown | None = None
        self._doomed: list[Any] = []
        self._removal = QTimer(self)
        self._removal.setSingleShot(True)
        self._removal.setInterval(REMOVAL_MS)
        self._removal.timeout.connect(self._remove_next)

    def owns(self, layer: Any) -> bool:
        """Whether a layer is one of these three."""
        return layer is not None and any(layer is own for own in (self.map, self.outline, self.attention))

    def forget(self, layer: Any) -> None:
        """Take note that the user deleted one."""
        if layer is self.map:
            self.map, self._map_shown = None, None
        if layer is self.outline:
            self.outline, self._outline_shown = None, None
        if layer is self.attention:
            self.attention, self._attention_shown = None, None

    def out_of_date(self) -> None:
        """Take note that the stack lies elsewhere now: the next call draws anew."""
        self._map_shown = self._outline_shown = self._attention_shown = None

    def show_map(self, scored: Scored, frame: Frame, target: Target) -> None:
        """Show a focus map on the stack that it is of."""
        report = scored.report
        shown = Shown(target, report.scorer, scored.basis, report.grid)
        if shown == self._map_shown:
            return
        view = scored.view
        data, letters = (view.data, "ZYX") if "Z" in frame.axes else (view.data[0], "YX")
        placed = _at(target, frame, data, letters, report.grid, {"role": "focus map", "scorer": report.scorer})
        name = f"{view.title} {frame.name} ({report.scorer})"
        axes = "".join(a.upper() for a in placed.kwargs["axis_labels"])
        old = self.map
        if old is not None and old.kind == view.kind and renewed(old, placed, name):
            old.report, old.axes = report, axes
            old.contrast_limits_range = old.contrast_limits = view.limits
        else:
            self.hide_map()
            self.map = FocusMap(
                placed.data,
                report=report,
                kind=view.kind,
                axes=axes,
                name=name,
                contrast_limits=view.limits,
                colormap=_colours(view, old),
                opacity=old.opacity if old else MAP_OPACITY,
                blending="translucent",
                interpolation2d="nearest",
                **placed.kwargs,
            )
            self.map.events.colormap.connect(self._on_recoloured)
            self.map.events.contrast_limits.connect(self._on_recoloured)
            # The outline stays on top: a map would hide it.
            layers = self._viewer.layers
            self._insert(self.map, layers.index(self.outline) if self.outline in layers else len(layers))
            self._select_again(target)
        self._map_shown = shown

    def coloured(self, view: MapView) -> MapView:
        """A view with the colours that its map has: of plain values, these and their limits are the user's."""
        if self.map is None or view.colours:
            return view
        steps = self.map.colormap.map(np.linspace(0, 1, COLOUR_STEPS))
        colours = tuple("#{:02x}{:02x}{:02x}".format(*np.rint(255 * step[:3]).astype(int)) for step in steps)
        low, high = self.map.contrast_limits
        return dataclasses.replace(view, colours=colours, limits=(float(low), float(high)))

    def _on_recoloured(self, _event: Any = None) -> None:
        self.recoloured.emit()

    def show_outline(self, scored: Scored, frame: Frame, target: Target) -> None:
        """Show where the specimen was found; nothing where none was."""
        if target == self._outline_shown:
            return
        if scored.outline is None:
            self.hide_outline()
            return
        height, width = scored.report.plane_shape
        rows, columns = scored.outline.shape
        grid = Grid((rows, columns), (height / rows, width / columns))
        data, letters = scored.outline, "YX"
        if "Z" in frame.axes and set("PT") & set(frame.axes):
            # napari lines layers up by their last axes: without z, time would lie along it.
            data, letters = np.broadcast_to(data, (len(scored.report.values), *data.shape)), "ZYX"
        placed = _at(target, frame, data, letters, grid, {"role": "specimen"})
        name = f"outline {frame.name}"
        old = self.outline
        if old is None or not renewed(old, placed, name):
            self.hide_outline()
            # An image: napari takes four times as long to add its first labels layer.
            self.outline = Image(
                placed.data,
                name=name,
                colormap=OUTLINE_COLOURS,
                contrast_limits=(0, 1),
                opacity=old.opacity if old else 1.0,
                blending="translucent",
                interpolation2d="nearest",
                **placed.kwargs,
            )
            self._insert(self.outline, len(self._viewer.layers))
        self._outline_shown = target

    def show_attention(self, scored: Scored, frame: Frame, target: Target) -> None:
        """Show where a network's score comes from; nothing where it does not tell."""
        report = scored.report
        shown = Shown(target, report.scorer, None, report.grid)
        if shown == self._attention_shown:
            return
        if "cam" not in report.layers:
            self.hide_attention()
            return
        cam = report.layers["cam"]
        data, letters = (cam, "ZYX") if "Z" in frame.axes else (cam[0], "YX")
        placed = _at(target, frame, data, letters, report.grid, {"role": "attention", "scorer": report.scorer})
        name = f"attention {frame.name} ({report.scorer})"
        old = self.attention
        if old is None or not renewed(old, placed, name):
            self.hide_attention()
            self.attention = Image(
                placed.data,
                name=name,
                colormap=old.colormap if old else fading("inferno", name="attention"),
                contrast_limits=(0, 1),
                opacity=old.opacity if old else ATTENTION_OPACITY,
                blending="translucent",
                interpolation2d="linear",
                **placed.kwargs,
            )
            self._insert(self.attention, len(self._viewer.layers))
        self._attention_shown = shown

    def hide_attention(self) -> None:
        """Remove what a network looks at."""
        layer, self.attention, self._attention_shown = self.attention, None, None
        self._remove(layer)

    def hide_map(self) -> None:
        """Remove the focus map."""
        layer, self.map, self._map_shown = self.map, None, None
        if layer is not None:
            self._map_selected = self._viewer.layers.selection.active is layer
        self._remove(layer)

    def hide_outline(self) -> None:
        """Remove the outline."""
        layer, self.outline, self._outline_shown = self.outline, None, None
        self._remove(layer)

    def _insert(self, layer: Any, at: int) -> None:
        """Insert a layer, and leave selected what the user has selected."""
        layers = self._viewer.layers
        active = layers.selection.active
        layers.insert(at, layer)
        if active is not None and active in layers:
            layers.selection.active = active

    def _select_again(self, target: Target) -> None:
        """Select the map where the one before was: the status bar goes on telling what is under the mouse."""
        selection = self._viewer.layers.selection
        active = selection.active
        # napari has selected a neighbour of the map that went; what the user selects since stays.
        if self._map_selected and (active is None or self.owns(active) or identity(active) == target.layer):
            selection.active = self.map
        self._map_selected = False

    def _remove(self, layer: Any) -> None:
        if layer is not None:
            self._doomed.append(layer)
            if not self._removal.isActive():
                self._remove_next()

    def _remove_next(self) -> None:
        if not self._doomed:
            return
        layer = self._doomed.pop(0)
        self._removal.start()
        if layer in self._viewer.layers:
            if layer.visible:
                self._viewer.layers.remove(layer)
            else:
                layer.visible = True
                self._doomed.insert(0, layer)


def _colours(view: MapView, old: FocusMap | None) -> Any:
    """The view's own colours; for plain values those that the user has chosen, else viridis."""
    if view.kind in ("class", "score", "distance"):
        steps = np.linspace(0, 1, len(view.colours) + 1)
        return Colormap(view.colours, name=view.title, controls=steps, interpolation="zero")
    if view.colours:
        return Colormap(view.colours, name=view.kind)
    return old.colormap if old is not None and old.kind == view.kind else "viridis"


def _at(target: Target, frame: Frame, data: NDArray[Any], axes: str, grid: Grid, provenance: dict[str, Any]) -> Placed:
    """Place a result of one time point and position, so that it shows there only."""
    at = {a: i for a, i in (("P", target.position), ("T", target.time)) if a in frame.axes}
    data = data.reshape((1,) * len(at) + data.shape)
    return place(data, "".join(at) + axes, like=frame, grid=grid, at=at, provenance=provenance)
