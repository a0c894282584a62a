"""`MapLegend`: what the colours of a map mean, below the boxes that show it."""

from __future__ import annotations

from html import escape
from typing import Any

from qtpy.QtCore import QEvent, QRectF, QSize, Qt
from qtpy.QtGui import QColor, QLinearGradient, QPainter
from qtpy.QtWidgets import QSizePolicy, QToolTip, QWidget

from napari_focusstack.core.votes import DISTANCES
from napari_focusstack.widgets.map_views import (
    CLASS_COLOURS,
    DIVERGING_COLOURS,
    MapView,
    class_text,
    distance_text,
    signed_um,
)

BAR_PX = 12
GAP_PX = 6
PLAIN = ". The colours and their limits are those of the layer: change them as you like."


class MapLegend(QWidget):
    """Fields for classes of focus or of distance, or for scores, or a bar in µm or in the units of a measure."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.view: MapView | None = None
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.hide()

    def show_view(self, view: MapView | None) -> None:
        """Explain the colours of `view`; hide for None and for a view that has none."""
        self.view = view if view is not None and view.colours else None
        self.setVisible(self.view is not None)
        plain = self.view is not None and self.view.kind == "value"
        self.setToolTip("<p>" + escape(", ".join(self.texts())) + PLAIN + "</p>" if plain else "")
        self.setAccessibleDescription("; ".join(self.texts()))
        self.update()

    def texts(self) -> tuple[str, ...]:
        """What stands below the colours, from left to right."""
        if self.view is None:
            return ()
        if self.view.kind == "class":
            return ("in focus", "blank: little specimen", "wholly blurred")
        if self.view.kind == "score":
            return ("0, blurred", "blank: little specimen", "100, clearest")
        if self.view.kind == "distance":
            return ("too near", "in focus; faint: unsure", "too far")
        low, high = self.view.limits
        if self.view.kind == "value":
            return (f"{low:.3g} blurred or plain", self.view.units, f"{high:.3g} sharp")
        return (f"{signed_um(low)} below", "in focus", f"{signed_um(high)} above")

    def sizeHint(self) -> QSize:  # noqa: N802 (Qt's name)
        """A bar and a line of text."""
        return QSize(160, BAR_PX + self.fontMetrics().height() + 4)

    def minimumSizeHint(self) -> QSize:  # noqa: N802 (Qt's name)
        """May become narrow."""
        return QSize(80, self.sizeHint().height())

    def field_at(self, x: float) -> int:
        """Which of the fields lies at `x`."""
        n = len(self._fields) or 1
        return min(max(int(x / max(self.width(), 1) * n), 0), n - 1)

    def field_text(self, k: int) -> str:
        """What one of the fields means."""
        if self.view is not None and self.view.kind == "score":
            return f"score {10 * k} to {10 * (k + 1)}"
        distance = self.view is not None and self.view.kind == "distance"
        text, k = (distance_text(DISTANCES[k]), DISTANCES[k]) if distance else (class_text(k), k)
        return text if "class" in text else f"{text} (class {k})"

    @property
    def _fields(self) -> tuple[str, ...]:
        """Colours of the classes; none for a colour bar."""
        if self.view is None:
            return ()
        fields = {"class": CLASS_COLOURS, "score": CLASS_COLOURS[::-1], "distance": DIVERGING_COLOURS}
        return fields.get(self.view.kind, ())

    def event(self, event: Any) -> bool:
        """Name the class under the mouse."""
        if event.type() == QEvent.Type.ToolTip and self.view is not None and self._fields:
            QToolTip.showText(event.globalPos(), self.field_text(self.field_at(event.pos().x())), self)
            return True
        return bool(super().event(event))

    def paintEvent(self, _event: Any) -> None:  # noqa: N802 (Qt's name)
        """Draw the colours and their meaning."""
        if self.view is None:
            return
        painter = QPainter(self)
        fields = [QColor(c) for c in self._fields]
        width = self.width()
        for k, colour in enumerate(fields):
            painter.fillRect(QRectF(k * width / len(fields), 0, width / len(fields) - 1, BAR_PX), colour)
        if not fields:
            colours = [QColor(c) for c in self.view.colours]
            ramp = QLinearGradient(0, 0, width, 0)
            for k, colour in enumerate(colours):
                ramp.setColorAt(k / (len(colours) - 1), colour)
            painter.fillRect(QRectF(0, 0, width, BAR_PX), ramp)
        painter.setPen(self.palette().windowText().color())
        below = QRectF(0, BAR_PX + 2, width, self.height() - BAR_PX - 2)
        first, middle, last = self.texts()
        left, right = (self.fontMetrics().horizontalAdvance(text) + GAP_PX for text in (first, last))
        between = below.adjusted(left, 0, -right, 0)
        middle = self.fontMetrics().elidedText(middle, Qt.TextElideMode.ElideRight, max(0, int(between.width())))
        painter.drawText(below, int(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignTop), first)
        painter.drawText(between, int(Qt.AlignmentFlag.AlignHCenter | Qt.AlignmentFlag.AlignTop), middle)
        painter.drawText(below, int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignTop), last)
        painter.end()
