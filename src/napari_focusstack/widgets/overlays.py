"""The layers that the Focus widget lays over a stack: the focus map and the outline of the specimen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from napari.layers import Image, Labels
from napari.utils.colormaps import DirectLabelColormap
from numpy.typing import NDArray

from napari_focusstack.core.report import FocusReport, Grid
from napari_focusstack.widgets.focus_state import Scored, Target, patch_text
from napari_focusstack.widgets.layers import Frame, Placed, place

OUTLINE_COLOUR = "#e69f00"
MAP_OPACITY = 0.45


class FocusMap(Image):
    """An image layer of patches that tells, under the mouse, what the scorer said of a patch."""

    def __init__(self, data: Any, *, report: FocusReport, axes: str, **kwargs: Any) -> None:
        super().__init__(data, **kwargs)
        self.report = report
        self.axes = axes

    @property
    def _type_string(self) -> str:
        # napari chooses controls, menus and writers by this name.
        return "image"

    def get_status(self, position: Any = None, *, world: bool = False, **kwargs: Any) -> dict[str, str]:
        """Status bar text: slice, patch and value in the place of bare coordinates."""
        status: dict[str, str] = super().get_status(position, world=world, **kwargs)
        if position is None or not status["value"]:
            return status
        index = np.rint(self.world_to_data(position) if world else np.asarray(position)).astype(int)
        at = dict(zip(self.axes, index[-self.ndim :], strict=True))
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


class Overlays:
    """Adds, updates and removes the two layers; each exists once.

    Parameters
    ----------
    viewer : napari viewer or ViewerModel
        Where they are shown.
    """

    def __init__(self, viewer: Any) -> None:
        self._viewer = viewer
        self.map: FocusMap | None = None
        self.outline: Labels | None = None
        self._map_shown: Shown | None = None
        self._outline_shown: Target | None = None

    def owns(self, layer: Any) -> bool:
        """Whether a layer is one of these two."""
        return layer is not None and (layer is self.map or layer is self.outline)

    def forget(self, layer: Any) -> None:
        """Take note that the user deleted one."""
        if layer is self.map:
            self.map, self._map_shown = None, None
        if layer is self.outline:
            self.outline, self._outline_shown = None, None

    def out_of_date(self) -> None:
        """Take note that the stack lies elsewhere now: the next call draws anew."""
        self._map_shown = self._outline_shown = None

    def show_map(self, scored: Scored, frame: Frame, target: Target) -> None:
        """Show a focus map on the stack that it is of."""
        report = scored.report
        shown = Shown(target, report.scorer, scored.basis)
        if shown == self._map_shown:
            return
        placed = _at(target, frame, report.maps, "ZYX", report.grid, {"what": "focus map", "scorer": report.scorer})
        look = self.map
        kwargs = {
            "name": f"{frame.name} focus map ({report.scorer})",
            "contrast_limits": scored.limits,
            "colormap": look.colormap if look else "viridis",
            "opacity": look.opacity if look else MAP_OPACITY,
            "visible": look.visible if look else True,
            "blending": "translucent",
            "interpolation2d": "nearest",
        }
        axes = "".join(a.upper() for a in placed.kwargs["axis_labels"])
        new = FocusMap(placed.data, report=report, axes=axes, **kwargs, **placed.kwargs)
        self._exchange(look, new)
        self.map, self._map_shown = new, shown

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
        placed = _at(target, frame, scored.outline, "YX", grid, {"what": "specimen"})
        old = self.outline
        new = Labels(
            placed.data,
            name=f"{frame.name} specimen",
            colormap=DirectLabelColormap(color_dict={1: OUTLINE_COLOUR, None: "transparent"}),
            opacity=old.opacity if old else 1.0,
            visible=old.visible if old else True,
            **placed.kwargs,
        )
        new.contour = 1
        new.editable = False
        self._exchange(old, new)
        self.outline, self._outline_shown = new, target

    def hide_map(self) -> None:
        """Remove the focus map."""
        self._exchange(self.map, None)
        self.map, self._map_shown = None, None

    def hide_outline(self) -> None:
        """Remove the outline."""
        self._exchange(self.outline, None)
        self.outline, self._outline_shown = None, None

    def _exchange(self, old: Any, new: Any) -> None:
        """Put a layer in another's place, and keep what the user has selected."""
        layers = self._viewer.layers
        active = layers.selection.active
        at = layers.index(old) if old is not None and old in layers else None
        self.map = None if old is self.map else self.map
        self.outline = None if old is self.outline else self.outline
        if at is not None:
            layers.remove(old)
        if new is not None:
            layers.insert(len(layers) if at is None else at, new)
        if active is old:
            active = new
        if active is not None and active in layers:
            layers.selection.active = active


def _at(target: Target, frame: Frame, data: NDArray[Any], axes: str, grid: Grid, provenance: dict[str, Any]) -> Placed:
    """Place a result of one time point and position, so that it shows there only."""
    at = {a: i for a, i in (("P", target.position), ("T", target.time)) if a in frame.axes}
    data = data.reshape((1,) * len(at) + data.shape)
    return place(data, "".join(at) + axes, like=frame, grid=grid, at=at, provenance=provenance)
