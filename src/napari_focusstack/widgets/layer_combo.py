"""`LayerCombo`: a list of layers whose long names lose their middle, never what tells them apart at the end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QComboBox, QSizePolicy, QStyle, QStyleOptionComboBox, QStylePainter, QWidget


class LayerCombo(QComboBox):
    """A combo box as wide as there is room.

    Parameters
    ----------
    tooltip : str
        What is chosen.
    """

    def __init__(self, tooltip: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setToolTip(tooltip)
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.setMinimumContentsLength(12)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.view().setTextElideMode(Qt.TextElideMode.ElideMiddle)

    def offer(self, layers: Sequence[Any], chosen: Any) -> None:
        """List layers, ``currentData`` is one, without a signal; nothing is chosen where `chosen` is not among them."""
        self.blockSignals(True)
        self.clear()
        for i, layer in enumerate(layers):
            self.addItem(layer.name, layer)
            # Names may be longer than the box.
            self.setItemData(i, layer.name, Qt.ItemDataRole.ToolTipRole)
        self.setCurrentIndex(next((i for i, layer in enumerate(layers) if layer is chosen), -1))
        self.blockSignals(False)

    def choose(self, layer: Any) -> None:
        """Choose a layer, where it is offered."""
        index = next((i for i in range(self.count()) if self.itemData(i) is layer), -1)
        if index >= 0:
            self.setCurrentIndex(index)

    def shown_text(self) -> str:
        """The current name as far as it fits."""
        option = QStyleOptionComboBox()
        self.initStyleOption(option)
        field = self.style().subControlRect(
            QStyle.ComplexControl.CC_ComboBox, option, QStyle.SubControl.SC_ComboBoxEditField, self
        )
        return str(
            self.fontMetrics().elidedText(self.currentText(), Qt.TextElideMode.ElideMiddle, max(0, field.width() - 4))
        )

    def paintEvent(self, _event: Any) -> None:  # noqa: N802 (Qt's name)
        """As ever, with the shortened name."""
        painter = QStylePainter(self)
        option = QStyleOptionComboBox()
        self.initStyleOption(option)
        option.currentText = self.shown_text()
        painter.drawComplexControl(QStyle.ComplexControl.CC_ComboBox, option)
        painter.drawControl(QStyle.ControlElement.CE_ComboBoxLabel, option)
        painter.end()
