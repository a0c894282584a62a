"""`CurveLegend`: which thin curve is whose, in lines below the plot, where no curve is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from qtpy.QtCore import QPoint, Qt
from qtpy.QtGui import QPainter, QPen
from qtpy.QtWidgets import QSizePolicy, QWidget

SAMPLE_PX = 26
"""Length of the piece of a curve before its name."""
GAP_PX = 14


class CurveLegend(QWidget):
    """Pieces of curves with their names, as many side by side as there is room for; hidden while there are none."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._entries: tuple[tuple[str, QPen], ...] = ()
        font = self.font()
        font.setPointSizeF(0.85 * font.pointSizeF())
        self.setFont(font)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.show_curves(())

    def show_curves(self, entries: Sequence[tuple[str, QPen]]) -> None:
        """Show names and the pens that their curves are drawn with."""
        self._entries = tuple(entries)
        self.setAccessibleDescription("; ".join(self.names))
        self.setVisible(bool(entries))
        self._fit()
        self.update()

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the curves."""
        return tuple(name for name, _ in self._entries)

    def places(self) -> list[QPoint]:
        """Upper left corner of each entry."""
        x = y = 0
        found = []
        for name, _ in self._entries:
            width = SAMPLE_PX + 4 + self.fontMetrics().horizontalAdvance(name)
            if x and x + width > self.width():
                x, y = 0, y + self.fontMetrics().height()
            found.append(QPoint(x, y))
            x += width + GAP_PX
        return found

    def resizeEvent(self, _event: Any) -> None:  # noqa: N802 (Qt's name)
        """Another width may take more lines, or fewer."""
        self._fit()

    def paintEvent(self, _event: Any) -> None:  # noqa: N802 (Qt's name)
        """Draw the entries."""
        painter = QPainter(self)
        height = self.fontMetrics().height()
        for (name, pen), at in zip(self._entries, self.places(), strict=True):
            painter.setPen(pen)
            painter.drawLine(at.x(), at.y() + height // 2, at.x() + SAMPLE_PX, at.y() + height // 2)
            painter.setPen(self.palette().windowText().color())
            room = max(0, self.width() - at.x() - SAMPLE_PX - 4)
            text = self.fontMetrics().elidedText(name, Qt.TextElideMode.ElideRight, room)
            painter.drawText(at.x() + SAMPLE_PX + 4, at.y() + self.fontMetrics().ascent(), text)
        painter.end()

    def _fit(self) -> None:
        places = self.places()
        self.setFixedHeight(places[-1].y() + self.fontMetrics().height() if places else 0)
