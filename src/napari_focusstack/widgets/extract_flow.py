"""What *Extract* does."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

from napari.utils.notifications import show_info, show_warning
from numpy.typing import NDArray
from qtpy.QtCore import QObject, Signal

from napari_focusstack.core.errors import InputError
from napari_focusstack.core.extract import extract_series
from napari_focusstack.core.stack import Stack
from napari_focusstack.widgets.desk import Desk
from napari_focusstack.widgets.extract_panel import Extract, ExtractPanel
from napari_focusstack.widgets.job import JobRunner
from napari_focusstack.widgets.layers import METADATA, Frame, frame_of, place, stack_of
from napari_focusstack.widgets.picks_table import PicksPanel

LOOK = ("contrast_limits", "gamma", "blending", "interpolation2d")
"""What an extracted layer takes over of its source's looks."""


@dataclass(frozen=True)
class _Order:
    """What is being extracted."""

    frame: Frame
    name: str
    first: int
    axes: str
    look: dict[str, Any]
    provenance: dict[str, Any]


class ExtractFlow(QObject):
    """Reads the slices in a thread and adds the result as a layer, which hides the stack that it is of.

    Signals
    -------
    extracted()
        The layer is there.

    Parameters
    ----------
    panel : ExtractPanel
        The form.
    picks : PicksPanel
        Knows the picked slice.
    desk : Desk
        The widget it belongs to.
    """

    extracted = Signal()

    def __init__(self, panel: ExtractPanel, picks: PicksPanel, desk: Desk, parent: QObject) -> None:
        super().__init__(parent)
        self._panel = panel
        self._picks = picks
        self._desk = desk
        self._order: _Order | None = None
        self.runner = JobRunner(self)
        panel.extract_asked.connect(self.start)
        self.runner.succeeded.connect(self._on_done)
        self.runner.busy_changed.connect(panel.button.setDisabled)

    def start(self, wanted: Extract) -> None:
        """Extract from the chosen layer."""
        layer = self._desk.layer
        try:
            if layer is None:
                raise InputError("There is no image to extract from: open a stack first.")
            stack = stack_of(layer)
            stack.require_slices("extract some")
            z = self._centre(wanted.centre)
        except InputError as error:
            show_warning(error.in_napari)
            return
        where = self._desk.where()
        time, position = where.get("T", 0), where.get("P", 0)
        target = self._desk.target
        series = stack.series(t=time, p=position).only_channel(target.channel if target else 0)
        first, last = max(0, z - wanted.reach), min(series.n_slices - 1, z + wanted.reach)
        span = f"slice {first}" if first == last else f"slices {first}–{last}"
        keeps_z = wanted.projection == "none" and last > first
        what = span if wanted.projection == "none" else f"{wanted.projection} of {span}"
        place_name = (f" p{position}" if stack.n_positions > 1 else "") + (f" t{time}" if stack.n_times > 1 else "")
        look = {key: getattr(layer, key) for key in LOOK}
        # Added to its own stack, it would be twice as bright.
        look["blending"] = "opaque" if look["blending"] == "additive" else look["blending"]
        if not stack.is_rgb:
            look["colormap"] = layer.colormap
        self._order = _Order(
            frame_of(layer),
            f"{what} {layer.name}{place_name}",
            first,
            ("Z" if keeps_z else "") + ("YXS" if stack.is_rgb else "YX"),
            look,
            {
                "what": what,
                "slices": [first, last],
                "projection": wanted.projection,
                **_kept(series, layer, slice(first, last + 1), keeps_z=keeps_z),
            },
        )
        self.runner.start(partial(extract_series, series, first=first, last=last, projection=wanted.projection))

    def _centre(self, centre: str) -> int:
        where, scored = self._desk.where(), self._desk.scored
        best = scored.report.decision.best if scored else None
        if centre == "picked":
            name = self._desk.layer.name
            pick = self._picks.picks.get(name, position=where.get("P", 0), time=where.get("T", 0))
            if pick is not None:
                return pick.slice
        if centre in ("picked", "best"):
            if best is None:
                raise InputError("No slice is picked or found best here: pick one, or take the shown slice.")
            return best
        return where["Z"]

    def _on_done(self, data: NDArray[Any]) -> None:
        order = self._order
        if order is None:
            return
        if len(order.axes.rstrip("S")) == 2 and data.ndim == len(order.axes) + 1:
            data = data[0]  # one slice alone is an image
        at = {"Z": order.first} if "Z" in order.axes else {}
        placed = place(data, order.axes, like=order.frame, at=at, provenance=order.provenance)
        self._desk.viewer.add_image(placed.data, name=order.name, **order.look, **placed.kwargs)
        self.extracted.emit()
        show_info(f"'{order.name}' lies over '{order.frame.name}': hide it (its eye) to go through the slices again.")


def _kept(series: Stack, layer: Any, slices: slice, *, keeps_z: bool) -> dict[str, Any]:
    """What scale and translate of the new layer can't tell: heights, optics, channel."""
    kept: dict[str, Any] = {"optics": series.optics, "channels": list(series.channels)}
    heights = series.heights_um
    if heights is not None:
        mine = heights[slices].tolist()
        kept["heights_um"] = [mine[0], mine[-1]]
        if keeps_z and layer.metadata.get(METADATA, {}).get("z_positions_um") is not None:
            kept["z_positions_um"] = mine
    return kept
