"""`CalibrationHint`: says what a layer does not know, and opens the form for it."""

from __future__ import annotations

from typing import Any

from qtpy.QtWidgets import QHBoxLayout, QLabel, QPushButton, QWidget

from napari_focusstack.core.stack import Stack
from napari_focusstack.widgets.open_layer import CalibrationDialog


class CalibrationHint(QWidget):
    """A line with a button, shown only while the layer's pixel size or z step is not known.

    Parameters
    ----------
    viewer : napari.Viewer
        The viewer of the layers.
    """

    def __init__(self, viewer: Any, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._layer: Any = None
        self.dialog: CalibrationDialog | None = None
        self.label = QLabel()
        self.label.setWordWrap(True)
        self.button = QPushButton("Set…")
        self.button.setToolTip("Set the pixel size and the z step of the layer")
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.label, 1)
        row.addWidget(self.button)
        self.button.clicked.connect(self._on_clicked)
        self.hide()

    def show_for(self, layer: Any, stack: Stack | None) -> None:
        """Say what `layer` does not know; hide where nothing is missing, or there is no layer."""
        self._layer = layer
        missing = "" if layer is None or stack is None else missing_lengths(stack)
        self.label.setText(missing)
        self.setVisible(bool(missing))

    def _on_clicked(self) -> None:
        if self._layer in self._viewer.layers:
            self.dialog = CalibrationDialog(self._viewer, self._layer, self.window())
            self.dialog.destroyed.connect(self._on_closed)
            self.dialog.open()

    def _on_closed(self) -> None:
        self.dialog = None


def missing_lengths(stack: Stack) -> str:
    """What a stack does not know of its lengths, in a sentence; empty where it knows all."""
    z = stack.n_slices > 1 and stack.heights_um is None
    pixel = stack.x_um is None or stack.y_um is None
    if z and pixel:
        return "Pixel size and z step are not known."
    if z:
        return "The z step is not known: no heights in µm."
    return "The pixel size is not known." if pixel else ""
