"""What the Focus widget looks like: its parts in their places, and no logic."""

from __future__ import annotations

from html import escape
from typing import Any

from qtpy.QtCore import QEvent, QSize, Qt
from qtpy.QtWidgets import (
    QButtonGroup,
    QCheckBox,
    QComboBox,
    QFormLayout,
    QFrame,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QSpinBox,
    QStyle,
    QTabWidget,
    QVBoxLayout,
    QWidget,
)

from napari_focusstack.widgets.curve import CurvePlot
from napari_focusstack.widgets.curve_legend import CurveLegend
from napari_focusstack.widgets.extract_panel import ExtractPanel
from napari_focusstack.widgets.job import JobBar
from napari_focusstack.widgets.layer_combo import LayerCombo
from napari_focusstack.widgets.legend import MapLegend
from napari_focusstack.widgets.note_label import caution_text
from napari_focusstack.widgets.picks_table import PicksPanel
from napari_focusstack.widgets.scorer_combo import ScorerCombo

SPECIMEN, WHOLE, REGION = range(3)
OUTLINE = "Show where the specimen was found"


class FocusForm(QScrollArea):
    """All parts of the Focus widget, in a column that scrolls where the window is too low."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.layer_box = LayerCombo("The image layer to score")
        self.z_box = _combo("The layer does not say which of its axes is z: choose it here")
        self.channel_box = _combo("The channel to score")
        self.scorer_box = ScorerCombo()
        self.patch_box = QSpinBox()
        self.patch_box.setRange(8, 256)
        self.patch_box.setSingleStep(8)
        self.patch_box.setValue(32)
        self.patch_box.setSuffix(" px")
        self.patch_box.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.patch_box.setToolTip("Side of a patch of the focus map; counts from the next Score slices on")
        self.all_box = QCheckBox("All time points")
        self.all_box.setToolTip("Score every time point (and position) of the layer, not only the one shown")
        self.job_bar = JobBar("Score slices", tooltip="Measure how sharp each slice is")
        self.curve_legend = CurveLegend()
        self.plot = CurvePlot(legend=self.curve_legend)
        self.verdict = QLabel()
        self.verdict.setWordWrap(True)
        self.verdict.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.verdict.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)
        self.verdict.setAlignment(Qt.AlignmentFlag.AlignTop | Qt.AlignmentFlag.AlignLeft)
        self.outline_box = QCheckBox("Outline")
        self.outline_box.setToolTip(OUTLINE)
        self.outline_box.setChecked(True)
        self.map_box = QCheckBox("Focus map")
        self.map_box.setToolTip(
            "Show how sharp each patch of each slice is; the status bar tells the value under the mouse"
        )
        self.attention_box = QCheckBox("Attention: where the score comes from")
        self.attention_box.setToolTip("Show which places of each slice the network's score comes from (Grad-CAM++)")
        self.attention_box.hide()
        self.legend = MapLegend()
        self.save_scores_button = QPushButton("Save scores…")
        self.save_scores_button.setToolTip("Save the curve as a table (CSV)")
        self.basis = QButtonGroup(self)
        self.picks = PicksPanel()
        self.extract = ExtractPanel()
        self._lay_out()

    def say(self, sentence: str, more: str = "", *, caution: str = "") -> None:
        """Show a verdict, and in smaller letters what else one should know."""
        parts = [f"<b>{escape(sentence)}</b>" if sentence else "", f"<small>{escape(more)}</small>" if more else ""]
        self.verdict.setText("<br>".join([p for p in (*parts, caution_text(caution)) if p]))

    def minimumSizeHint(self) -> QSize:  # noqa: N802 (Qt's name)
        """As wide as the content: it scrolls up and down, never sideways."""
        bar = self.style().pixelMetric(QStyle.PixelMetric.PM_ScrollBarExtent)
        return QSize(self.widget().minimumSizeHint().width() + bar, 240)

    def eventFilter(self, watched: Any, event: Any) -> bool:  # noqa: N802 (Qt's name)
        """Where the content becomes wider, so does the dock: a scroll area does not tell by itself."""
        if watched is self.widget() and event.type() == QEvent.Type.LayoutRequest:
            self.updateGeometry()
        return bool(super().eventFilter(watched, event))

    def sizeHint(self) -> QSize:  # noqa: N802 (Qt's name)
        """Room for the content where the window has it."""
        return QSize(self.minimumSizeHint().width(), self.widget().sizeHint().height())

    def _lay_out(self) -> None:
        content = QWidget()
        column = QVBoxLayout(content)
        column.setContentsMargins(6, 6, 6, 6)
        column.setSpacing(6)
        form = QFormLayout()
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        form.setVerticalSpacing(4)
        form.addRow("Layer", self.layer_box)
        form.addRow("Slices along", self.z_box)
        form.addRow("Channel", self.channel_box)
        form.addRow("Scorer", self.scorer_box)
        form.addRow("Patch", self.patch_box)
        form.addRow("", self.all_box)
        self._form = form
        column.addLayout(form)
        column.addWidget(self.job_bar)
        column.addWidget(self.plot, 3)
        column.addWidget(self.curve_legend)
        column.addWidget(self.verdict)
        column.addLayout(self._basis_row())
        shows = QHBoxLayout()
        shows.addWidget(QLabel("Show"))
        shows.addWidget(self.outline_box)
        shows.addWidget(self.map_box)
        shows.addStretch(1)
        shows.addWidget(self.save_scores_button)
        column.addLayout(shows)
        column.addWidget(self.legend)
        # A row of its own: it comes and goes with the scorer, and the dock would become wider.
        column.addWidget(self.attention_box)
        tabs = QTabWidget()
        tabs.addTab(self.picks, "Picks")
        tabs.addTab(self.extract, "Extract")
        tabs.setDocumentMode(True)
        column.addWidget(tabs, 2)
        self.setWidget(content)
        for box in (self.z_box, self.channel_box, self.all_box):
            self.show_row(box, False)

    def add_hint(self, hint: QWidget) -> None:
        """Put a hint on the layer below its name."""
        self._form.insertRow(1, hint)

    def add_optics(self, optics: QWidget) -> None:
        """Put the form for the microscope below the scorer."""
        row, _role = self._form.getWidgetPosition(self.scorer_box)
        self._form.insertRow(row + 1, optics)

    def show_row(self, widget: QWidget, shown: bool) -> None:
        """Show or hide a row of the form with its label."""
        widget.setVisible(shown)
        label = self._form.labelForField(widget)
        if label is not None:
            label.setVisible(shown)

    def _basis_row(self) -> QHBoxLayout:
        row = QHBoxLayout()
        row.setSpacing(2)
        row.addWidget(QLabel("Look at"))
        for number, (text, tooltip) in enumerate(
            (
                ("Specimen", "Only what stands out from the background counts: dirt beside it can't win"),
                ("Whole image", "Every part of the image counts alike"),
                ("Region", "Only what you draw around counts: press the mouse on the image and drag"),
            )
        ):
            button = QPushButton(text)
            button.setToolTip(tooltip)
            button.setCheckable(True)
            button.setChecked(number == SPECIMEN)
            self.basis.addButton(button, number)
            button.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
            row.addWidget(button, 1)
        return row


def _combo(tooltip: str) -> QComboBox:
    box = QComboBox()
    box.setToolTip(tooltip)
    box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    box.setMinimumContentsLength(12)
    box.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
    return box
