"""The way to focus as a curve: height of the stage over time, and where focus was found (fig. 6 of HH-Net's paper)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyqtgraph as pg
from qtpy.QtCore import QSize, Qt

from napari_focusstack.widgets.curve import BEST, CURVE


class TrackPlot(pg.GraphicsView):
    """Plots heights over seconds; each dot is an image."""

    def __init__(self) -> None:
        super().__init__()
        self.setMinimumHeight(110)
        self.setFrameShape(self.Shape.NoFrame)
        for part in (self, self.viewport()):
            part.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.setToolTip("Height of the stage over time; each dot is an image, the ring is where focus was found")
        self.box = pg.ViewBox(enableMenu=False, enableMouse=False)
        self._left, self._bottom = pg.AxisItem("left"), pg.AxisItem("bottom")
        grid = pg.GraphicsLayout()
        grid.setContentsMargins(0, 4, 6, 0)
        grid.setSpacing(0)
        for axis, place in ((self._left, (0, 0)), (self._bottom, (1, 1))):
            axis.linkToView(self.box)
            axis.enableAutoSIPrefix(False)
            grid.addItem(axis, *place)
        grid.addItem(self.box, 0, 1)
        self.setCentralItem(grid)
        self._left.setLabel("z (µm)")
        self._bottom.setLabel("seconds")
        self._line = pg.PlotDataItem(pen=pg.mkPen(CURVE, width=2), symbol="o", symbolSize=5, symbolPen=None)
        self._line.setSymbolBrush(CURVE)
        self._ring = pg.ScatterPlotItem(size=15, symbol="o", pen=pg.mkPen(BEST, width=2.5), brush=None)
        for item in (self._line, self._ring):
            self.box.addItem(item)
        self.show_track((), (), found=False)

    def sizeHint(self) -> QSize:  # noqa: N802 (Qt's name)
        """Small: pyqtgraph's 640×480 would squeeze the canvas."""
        return QSize(260, 130)

    def minimumSizeHint(self) -> QSize:  # noqa: N802 (Qt's name)
        """Smaller still."""
        return QSize(160, 110)

    def set_colours(self, *, background: str, text: str) -> None:
        """Follow the window's theme."""
        self.setBackground(background)
        for axis in (self._left, self._bottom):
            axis.setPen(text)
            axis.setTextPen(text)

    def show_track(self, seconds: Sequence[float], heights_um: Sequence[float], *, found: bool) -> None:
        """Show the images taken so far, and nothing before the first; `found`: the last one is in focus."""
        self.setVisible(bool(seconds))
        self._line.setData(np.asarray(seconds, float), np.asarray(heights_um, float))
        self._ring.setVisible(found)
        if found:
            self._ring.setData([seconds[-1]], [heights_um[-1]])
        self.box.autoRange(padding=0.08)
