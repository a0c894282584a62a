"""`MethodCombo`: a list of ways to do a thing, each explained under the mouse, which knows what is installed by now."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QComboBox, QSizePolicy, QWidget

from napari_focusstack.core.registry import Choice, Registry


class MethodCombo(QComboBox):
    """Choose a method; ``currentData`` is its name. The list is looked up anew each time it is opened.

    Parameters
    ----------
    methods : Registry
        What there is to choose from.
    chosen : str
        Name of the one to begin with.
    """

    def __init__(self, methods: Registry[Any], chosen: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._methods: Registry[Choice] = methods
        self._told: list[tuple[str, str, str]] = []
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.setMinimumContentsLength(12)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.refresh()
        self.setCurrentIndex(self.findData(chosen))

    def refresh(self) -> None:
        """Offer what there is now, keeping the choice."""
        told = [(m.title, m.name, m.description) for m in self._methods]
        if told == self._told:
            return
        chosen = self.currentData()
        self._told = told
        self.blockSignals(True)
        self.clear()
        for i, (title, name, description) in enumerate(told):
            self.addItem(title, name)
            self.setItemData(i, description, Qt.ItemDataRole.ToolTipRole)
        self.setCurrentIndex(max(self.findData(chosen), 0))
        self.blockSignals(False)
        self.currentIndexChanged.emit(self.currentIndex())

    def showPopup(self) -> None:  # noqa: N802 (Qt's name)
        """Open the list."""
        self.refresh()
        super().showPopup()
