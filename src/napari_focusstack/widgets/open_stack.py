"""*Open z-stack…*: choose files or a folder, see what they say, answer what they don't, and get the layers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from napari.layers import Layer
from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QComboBox,
    QDialog,
    QDialogButtonBox,
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_focusstack.core.errors import InputError
from napari_focusstack.core.progress import Job, Progress
from napari_focusstack.core.stack import Stack
from napari_focusstack.io.read import read_stacks
from napari_focusstack.widgets.job import JobRunner
from napari_focusstack.widgets.layers import stack_of
from napari_focusstack.widgets.open_form import StackForm, without_icons
from napari_focusstack.widgets.open_values import guess_missing
from napari_focusstack.widgets.reader import LayerData, layers_of

FILTER = "Images (*.tif *.tiff *.btf *.png *.jpg *.jpeg *.bmp *.avi *.mp4 *.mov);;All files (*)"


def add_layers(viewer: Any, layers: Sequence[LayerData]) -> list[Any]:
    """Add layers to the viewer, the last one selected, and name its sliders after their axes."""
    added = [viewer.add_layer(Layer.create(data, kwargs, kind)) for data, kwargs, kind in layers]
    if added:
        labels = tuple(added[0].axis_labels)
        if len(labels) == viewer.dims.ndim:
            viewer.dims.axis_labels = labels
        viewer.layers.selection.active = added[-1]
    return added


def open_stacks(viewer: Any) -> list[Stack]:
    """Stacks of the image layers in the viewer, where they can be made one."""
    stacks = []
    for layer in viewer.layers:
        try:
            stacks.append(stack_of(layer))
        except InputError:
            continue
    return stacks


class OpenStackDialog(QDialog):
    """The form behind *Open z-stack…*.

    Parameters
    ----------
    viewer : napari.Viewer
        Where the layers go.
    """

    def __init__(self, viewer: Any, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._stacks: list[Stack] = []
        self._opening = False
        self.setWindowTitle("Open z-stack")
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.runner = JobRunner(self)
        self.files_button = QPushButton("Choose files…")
        self.files_button.setToolTip("One file, or the slices of one stack as several files")
        self.folder_button = QPushButton("Choose a folder…")
        self.folder_button.setToolTip("A folder that holds the slices of one stack")
        self.series_box = QComboBox()
        self.series_box.setToolTip("The file holds several images: which one to open")
        self.form = StackForm(said_by="file")
        self.message = QLabel("Choose a file, the slices of a stack as several files, or a folder of slices.")
        self.message.setWordWrap(True)
        self.busy_bar = QProgressBar()
        self.busy_bar.setRange(0, 0)
        self.busy_bar.setTextVisible(False)
        self.buttons = QDialogButtonBox(
            QDialogButtonBox.StandardButton.Open | QDialogButtonBox.StandardButton.Cancel, parent=self
        )
        self.open_button = self.buttons.button(QDialogButtonBox.StandardButton.Open)

        choose = QHBoxLayout()
        choose.addWidget(self.files_button)
        choose.addWidget(self.folder_button)
        choose.addStretch(1)
        layout = QVBoxLayout(self)
        layout.addLayout(choose)
        layout.addWidget(self.series_box)
        layout.addWidget(self.form)
        layout.addWidget(self.busy_bar)
        layout.addWidget(self.message)
        layout.addStretch(1)
        layout.addWidget(self.buttons)
        without_icons(self.buttons)
        self.setMinimumWidth(460)

        self.files_button.clicked.connect(self._on_files)
        self.folder_button.clicked.connect(self._on_folder)
        self.series_box.currentIndexChanged.connect(self._on_series)
        self.form.changed.connect(self._on_form)
        self.buttons.accepted.connect(self._on_open)
        self.buttons.rejected.connect(self.reject)
        self.runner.busy_changed.connect(self._on_busy)
        self.runner.succeeded.connect(self._on_done)
        self.runner.failed.connect(self._on_failed)
        self.form.hide()
        self.series_box.hide()
        self.busy_bar.hide()
        self.open_button.setEnabled(False)
        self.files_button.setDefault(True)

    def read(self, paths: Sequence[Path]) -> None:
        """Read what the files say; the form follows as soon as it is known."""
        self._opening = False
        self.runner.start(_ReadJob(tuple(paths)))

    def reject(self) -> None:
        """Close without opening anything."""
        self.runner.cancel()
        super().reject()

    def _on_files(self) -> None:
        paths, _ = QFileDialog.getOpenFileNames(self, "Open z-stack", _last_folder(self._viewer), FILTER)
        if paths:
            self.read([Path(p) for p in paths])

    def _on_folder(self) -> None:
        path = QFileDialog.getExistingDirectory(self, "Open a folder of slices", _last_folder(self._viewer))
        if path:
            self.read([Path(path)])

    def _on_busy(self, busy: bool) -> None:
        self.busy_bar.setVisible(busy)
        self.open_button.setEnabled(not busy and bool(self._stacks))

    def _on_failed(self, problem: str) -> None:
        self._say(problem)

    def _on_done(self, result: Any) -> None:
        if self._opening:
            add_layers(self._viewer, result)
            self.accept()
            return
        self._stacks = result
        self.series_box.blockSignals(True)
        self.series_box.clear()
        self.series_box.addItems([stack.name for stack in self._stacks])
        self.series_box.blockSignals(False)
        self.series_box.setVisible(len(self._stacks) > 1)
        self._on_series()

    def _on_series(self) -> None:
        index = max(0, self.series_box.currentIndex())
        if index < len(self._stacks):
            stack = self._stacks[index]
            self.form.fill(stack, guess=guess_missing(stack, open_stacks(self._viewer)))
            self.form.show()
            self.open_button.setDefault(True)
            self._grow()

    def _grow(self) -> None:
        """Make room for the form, which was hidden when the dialog got its size; never smaller than it was made."""
        self.layout().activate()
        width = max(self.width(), self.sizeHint().width())
        self.resize(width, max(self.height(), self.layout().totalHeightForWidth(width), self.sizeHint().height()))

    def _on_form(self) -> None:
        problem = self._problem()
        self._say(problem)
        self.open_button.setEnabled(not problem and not self.runner.busy)

    def _problem(self) -> str:
        try:
            self.form.calibrated()
        except InputError as error:
            return error.in_napari
        return ""

    def _say(self, sentence: str) -> None:
        self.message.setText(sentence)
        self.message.setVisible(bool(sentence))

    def _on_open(self) -> None:
        if self._problem():
            return
        self._opening = True
        self.runner.start(_LayersJob(self.form.calibrated()))


class _ReadJob:
    """Makes the job that reads what files say."""

    def __init__(self, paths: tuple[Path, ...]) -> None:
        self.paths = paths

    def __call__(self) -> Job[list[Stack]]:
        yield Progress(0, 1, "Reading")
        return read_stacks(self.paths[0] if len(self.paths) == 1 else list(self.paths))


class _LayersJob:
    """Makes the job that prepares the layers: contrast limits, and the pixels of small stacks."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack

    def __call__(self) -> Job[list[LayerData]]:
        yield Progress(0, 1, "Opening")
        return layers_of(self.stack)


def _last_folder(viewer: Any) -> str:
    """Folder of the layer that was opened last, where file dialogs begin."""
    for layer in reversed(viewer.layers):
        path = getattr(layer.source, "path", None) or layer.metadata.get("napari_focusstack", {}).get("source")
        if path:
            return str(Path(path).parent)
    return ""
