"""The focus curve: values over z, the shown slice, the best slice, and earlier curves for comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyqtgraph as pg
from numpy.typing import NDArray
from qtpy.QtCore import QSize, Qt, Signal
from qtpy.QtGui import QPen

from napari_focusstack.widgets.curve_legend import CurveLegend

# Colours that colour-blind eyes tell apart (Okabe and Ito 2008), readable on napari's dark and light backgrounds.
CURVE = "#56b4e9"
BEST = "#e69f00"
SHOWN = "#cc79a7"
GOOD = "#e69f0038"
LABELS = 5
"""So many heights fit above the curve."""
ROUND_CURVE_PX = 50
"""Of the height is taken by the axes above and below."""
MINOR_TICKS = 40
"""Stacks of more slices have no tick for each."""
EARLIER = ("#009e73", "#d55e00", "#0072b2")
EARLIER_STYLES = (Qt.PenStyle.DashLine, Qt.PenStyle.DotLine, Qt.PenStyle.DashDotLine, Qt.PenStyle.DashDotDotLine)


@dataclass(frozen=True, eq=False)
class CurveView:
    """All that the plot shows, except the shown slice.

    Attributes
    ----------
    n_slices : int
        Length of the stack.
    values : (Z,) float64 or None
        Focus values; NaN for slices that are not scored yet.
    label : str
        What the values are.
    heights_um : (Z,) float64 or None
        Heights for the upper axis.
    best : int or None
        Slice to ring.
    good : (int, int) or None
        Slices to lay a band over.
    earlier : mapping of str to (Z,) array
        Curves of other scorers by name; drawn thin, each stretched to the height of the main curve.
    signed : bool
        Whether the values have a side: a line is drawn at 0.
    crossing : float or None
        Position between the slices where signed values go through 0.
    """

    n_slices: int = 0
    values: NDArray[np.float64] | None = None
    label: str = ""
    heights_um: NDArray[np.float64] | None = None
    best: int | None = None
    good: tuple[int, int] | None = None
    earlier: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    signed: bool = False
    crossing: float | None = None


class _HeightAxis(pg.AxisItem):
    """An axis along the slices that tells their heights, the first and the last too; right for uneven steps."""

    def __init__(self) -> None:
        super().__init__(orientation="top")
        self.setStyle(hideOverlappingLabels=False)
        self.heights: NDArray[np.float64] | None = None

    def tickValues(self, low: float, high: float, size: float) -> list[tuple[float, list[float]]]:  # noqa: N802 (pyqtgraph's name)
        """Slices that get a height, and the other slices."""
        if self.heights is None:
            return []
        n = len(self.heights)
        major = label_slices(n)
        minor = [float(z) for z in range(n) if z not in major] if n <= MINOR_TICKS else []
        return [(float(max(1, n // LABELS)), [float(z) for z in major]), (1.0, minor)]

    def tickStrings(self, values: Sequence[float], scale: float, spacing: float) -> list[str]:  # noqa: N802 (pyqtgraph's name)
        """Heights of the slices at `values`, with as many digits as their steps need."""
        if self.heights is None:
            return [""] * len(values)
        digits = self._digits()
        slices = np.arange(len(self.heights))
        return [f"{np.interp(v, slices, self.heights):.{digits}f}" for v in values]

    def _digits(self) -> int:
        """As many as the labels need: 20 and 45, not 20.0 and 45.0."""
        assert self.heights is not None
        span = float(np.ptp(self.heights))
        most = 0 if span >= 50 else 1 if span >= 5 else 2
        shown = self.heights[label_slices(len(self.heights))]
        return next((d for d in range(most) if np.allclose(shown, np.round(shown, d), atol=0.01 * span / LABELS)), most)


class CurvePlot(pg.GraphicsView):
    """Plots a `CurveView`. A click, or dragging the line, asks for a slice.

    Parameters
    ----------
    legend : CurveLegend, optional
        Names the earlier curves; it lies elsewhere, where no curve is.

    Signals
    -------
    slice_asked(int)
        The user clicked at a slice or dragged the line there.
    """

    slice_asked = Signal(int)

    def __init__(self, *, legend: CurveLegend | None = None) -> None:
        super().__init__()
        self.setMinimumHeight(150)
        self.setFrameShape(self.Shape.NoFrame)
        self.setToolTip("Click to go to a slice")
        for part in (self, self.viewport()):
            part.setFocusPolicy(Qt.FocusPolicy.NoFocus)  # the picture keeps the keyboard
        self._view = CurveView()
        self._shown: int | None = None
        self._text = "#ffffff"
        self._earlier: list[Any] = []
        self._legend = legend
        self._lay_out()
        self._band = pg.LinearRegionItem(movable=False, brush=GOOD, pen=pg.mkPen(None))
        self._curve = pg.PlotDataItem(pen=pg.mkPen(CURVE, width=2), symbol="o", symbolSize=5, symbolPen=None)
        self._curve.setSymbolBrush(CURVE)
        self._ring = pg.ScatterPlotItem(size=15, symbol="o", pen=pg.mkPen(BEST, width=2.5), brush=None)
        self._line = pg.InfiniteLine(angle=90, movable=True, pen=pg.mkPen(SHOWN, width=2))
        self._line.setCursor(Qt.CursorShape.SizeHorCursor)
        self._zero = pg.InfiniteLine(pos=0, angle=0, pen=pg.mkPen(BEST, style=Qt.PenStyle.DashLine))
        self._crossing = pg.InfiniteLine(angle=90, pen=pg.mkPen(BEST, style=Qt.PenStyle.DashLine))
        lines = ((self._line, 1), (self._zero, -5), (self._crossing, -5))
        for item, depth in ((self._band, -10), (self._curve, 5), (self._ring, 10), *lines):
            item.setZValue(depth)
            self.box.addItem(item, ignoreBounds=True)
            item.setVisible(False)
        self._line.sigPositionChanged.connect(self._on_dragged)
        self.scene().sigMouseClicked.connect(self._on_clicked)
        self.set_view(CurveView())

    def _lay_out(self) -> None:
        """Axes around a view box. pyqtgraph's own PlotItem would come with menus and forms that nobody sees."""
        self.box = pg.ViewBox(enableMenu=False, enableMouse=False)
        self._heights = _HeightAxis()
        self._left, self._bottom = pg.AxisItem("left"), pg.AxisItem("bottom")
        self._axes = (self._heights, self._left, self._bottom)
        grid = pg.GraphicsLayout()
        grid.setContentsMargins(0, 0, 14, 0)  # half of the last height stands beyond the axis
        grid.setSpacing(0)
        for axis, (row, column) in zip(self._axes, ((0, 1), (1, 0), (2, 1)), strict=True):
            axis.linkToView(self.box)
            grid.addItem(axis, row, column)
        grid.addItem(self.box, 1, 1)
        self.setCentralItem(grid)
        self._bottom.setLabel("slice")
        self._left.enableAutoSIPrefix(False)

    def sizeHint(self) -> QSize:  # noqa: N802 (Qt's name)
        """Small: pyqtgraph's 640×480 would squeeze the canvas."""
        return QSize(260, 190)

    def minimumSizeHint(self) -> QSize:  # noqa: N802 (Qt's name)
        """Smaller still."""
        return QSize(160, 150)

    @property
    def view(self) -> CurveView:
        """What is shown."""
        return self._view

    @property
    def shown_slice(self) -> int | None:
        """Where the line stands."""
        return self._shown

    def set_colours(self, *, background: str, text: str) -> None:
        """Follow the window's theme."""
        self._text = text
        self.setBackground(background)
        for axis in self._axes:
            axis.setPen(text)
            axis.setTextPen(text)
        self.set_view(self._view)

    def set_shown(self, z: int | None) -> None:
        """Move the line to a slice."""
        self._shown = z
        self._line.setVisible(z is not None and self._view.n_slices > 0)
        if z is not None:
            self._line.blockSignals(True)
            self._line.setValue(z)
            self._line.blockSignals(False)

    def set_view(self, view: CurveView) -> None:
        """Show a curve."""
        self._view = view
        values = view.values
        scored = np.empty(0, int) if values is None else np.flatnonzero(np.isfinite(values))
        self._curve.setVisible(scored.size > 0)
        if values is not None:
            self._curve.setData(scored, values[scored])
        ringed = view.best is not None and view.best in scored
        self._ring.setVisible(ringed)
        if ringed and values is not None:
            self._ring.setData([view.best], [values[view.best]])
        self._zero.setVisible(view.signed)
        self._crossing.setVisible(view.crossing is not None)
        if view.crossing is not None:
            self._crossing.setValue(view.crossing)
        self._band.setVisible(view.good is not None)
        if view.good is not None:
            self._band.setRegion((view.good[0] - 0.4, view.good[1] + 0.4))
        self._draw_axes(view)
        low, high = self._fit(view, scored)
        self._draw_earlier(view, low, high)
        self.set_shown(self._shown)

    def _draw_axes(self, view: CurveView) -> None:
        self._bottom.setTickSpacing(*_spacing(view.n_slices))
        self._heights.heights = view.heights_um
        self._heights.picture = None
        if view.heights_um is None:
            self._heights.hide()
        else:
            self._heights.show()
            self._heights.setLabel("z (µm)")
        self._fit_label()
        scored = view.values is not None and bool(np.isfinite(view.values).any())
        self._left.setStyle(showValues=scored)

    @property
    def axis_label(self) -> str:
        """What stands beside the curve: the view's label; of ``"name (units)"`` the units alone where room is short."""
        label = self._view.label
        room = self.viewport().height() - ROUND_CURVE_PX
        short = label[label.find("(") + 1 : -1] if label.endswith(")") else label
        return label if self.fontMetrics().horizontalAdvance(label) <= room else short

    def _fit_label(self) -> None:
        if self.axis_label != self._left.labelText:
            self._left.setLabel(self.axis_label)

    def resizeEvent(self, event: Any) -> None:  # noqa: N802 (Qt's name)
        """Another height may have room for another label."""
        super().resizeEvent(event)
        if hasattr(self, "_left"):  # pyqtgraph resizes while it is made
            self._fit_label()

    def _fit(self, view: CurveView, scored: NDArray[np.intp]) -> tuple[float, float]:
        """Set the ranges; returns the curve's own."""
        low, high = 0.0, 1.0
        if view.values is not None and scored.size:
            low, high = float(view.values[scored].min()), float(view.values[scored].max())
        if high - low <= 1e-9 * max(abs(low), abs(high)):
            half = 0.5 * abs(high) or 0.5
            low, high = low - half, high + half
        self.box.setXRange(-0.5, max(view.n_slices, 2) - 0.5, padding=0.01)
        self.box.setYRange(low, high, padding=0.12)
        return low, high

    def _draw_earlier(self, view: CurveView, low: float, high: float) -> None:
        for item in self._earlier:
            self.box.removeItem(item)
        self._earlier = []
        pens = self._pens(len(view.earlier))
        for pen, values in zip(pens, view.earlier.values(), strict=True):
            span = float(np.ptp(values)) or 1.0
            stretched = low + (values - values.min()) * (high - low) / span
            item = pg.PlotDataItem(np.arange(len(values)), stretched, pen=pen)
            item.setOpacity(0.8)
            self.box.addItem(item, ignoreBounds=True)
            self._earlier.append(item)
        if self._legend is not None:
            self._legend.show_curves(list(zip(view.earlier, pens, strict=True)))

    def _pens(self, n: int) -> list[QPen]:
        """Pens of the earlier curves: told apart by dashes and by colour."""
        styles, colours = EARLIER_STYLES, (*EARLIER, self._text)
        return [pg.mkPen(colours[i % len(colours)], width=1, style=styles[i % len(styles)]) for i in range(n)]

    def _ask(self, x: float) -> None:
        if self._view.n_slices:
            self.slice_asked.emit(int(np.clip(round(x), 0, self._view.n_slices - 1)))

    def _on_clicked(self, event: Any) -> None:
        if event.button() == Qt.MouseButton.LeftButton:
            self._ask(self.box.mapSceneToView(event.scenePos()).x())

    def _on_dragged(self, line: Any) -> None:
        self._ask(line.value())


def _spacing(n_slices: int) -> tuple[float, float]:
    """(major, minor) distance of ticks: whole slices, nine of them with a number at most."""
    steps = [s * 10**e for e in range(5) for s in (1, 2, 5)]
    major = next((s for s in steps if n_slices / s <= 9), steps[-1])
    return float(major), float(1 if n_slices <= MINOR_TICKS else major)


def label_slices(n_slices: int) -> list[int]:
    """Slices whose heights are told: the first, the last, and some between, evenly apart where that can be."""
    most = min(n_slices, LABELS)
    n = next((k for k in range(most, 2, -1) if (n_slices - 1) % (k - 1) == 0), most)
    return sorted({int(z) for z in np.round(np.linspace(0, n_slices - 1, n))})
