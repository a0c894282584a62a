"""Form of *Extract*: the picked slice, slices around it, or their projection as a layer."""

from __future__ import annotations

from dataclasses import dataclass

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox, QFormLayout, QPushButton, QSpinBox, QWidget

KINDS = {
    "The slice": ("none", False),
    "Slices around it": ("none", True),
    "Maximum of the slices around it": ("max", True),
    "Mean of the slices around it": ("mean", True),
}
CENTRES = {"picked": "Picked slice, else best", "best": "Best slice", "shown": "Shown slice"}


@dataclass(frozen=True)
class Extract:
    """What to extract: `centre` (a key of `CENTRES`), `reach` slices to both sides, `projection` of them."""

    centre: str
    reach: int
    projection: str


class ExtractPanel(QWidget):
    """Choose what to extract.

    Signals
    -------
    extract_asked(Extract)
        *Extract* was pressed.
    """

    extract_asked = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.centre = QComboBox()
        for key, text in CENTRES.items():
            self.centre.addItem(text, key)
        self.kind = QComboBox()
        self.kind.addItems(list(KINDS))
        self.reach = QSpinBox()
        self.reach.setRange(1, 999)
        self.reach.setPrefix("± ")
        self.reach.setToolTip("How many slices to each side; fewer where the stack ends")
        self.button = QPushButton("Extract as new layer")
        self.button.setToolTip("The new layer lies where the slices lie, with their calibration")
        form = QFormLayout(self)
        form.setContentsMargins(4, 4, 4, 4)
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        form.addRow("From", self.centre)
        form.addRow("Take", self.kind)
        form.addRow("Around", self.reach)
        form.addRow(self.button)
        self.kind.currentTextChanged.connect(self._on_kind)
        self.button.clicked.connect(self._on_pressed)
        self._on_kind(self.kind.currentText())

    @property
    def extract(self) -> Extract:
        """What is chosen."""
        projection, around = KINDS[self.kind.currentText()]
        return Extract(self.centre.currentData(), self.reach.value() if around else 0, projection)

    def _on_kind(self, text: str) -> None:
        self.reach.setEnabled(KINDS[text][1])

    def _on_pressed(self) -> None:
        self.extract_asked.emit(self.extract)
