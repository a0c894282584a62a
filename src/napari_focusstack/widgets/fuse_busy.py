"""`BusyLine`: the progress of a runner, with *Cancel*, shown only while it runs."""

from __future__ import annotations

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QHBoxLayout, QProgressBar, QPushButton, QWidget

from napari_focusstack.core.progress import Progress
from napari_focusstack.widgets.job import JobRunner


class BusyLine(QWidget):
    """A progress bar with *Cancel* for jobs that several buttons start.

    Parameters
    ----------
    runner : JobRunner
        What runs the jobs.
    """

    def __init__(self, runner: JobRunner, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.bar = QProgressBar()
        self.bar.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.cancel_button = QPushButton("Cancel")
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.bar, 1)
        row.addWidget(self.cancel_button)
        self.cancel_button.clicked.connect(runner.cancel)
        runner.busy_changed.connect(self._on_busy)
        runner.stepped.connect(self._on_step)
        self.hide()

    def _on_busy(self, busy: bool) -> None:
        self.bar.setRange(0, 0)
        self.bar.setFormat("")
        self.setVisible(busy)

    def _on_step(self, step: Progress) -> None:
        self.bar.setRange(0, step.total)
        self.bar.setValue(step.done)
        self.bar.setFormat(step.message or "%p %")
