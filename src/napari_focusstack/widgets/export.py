"""*Export…*: a result as TIFF files beside its source, never over it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from napari.utils.notifications import show_info
from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QCheckBox,
    QDialog,
    QDialogButtonBox,
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QLayout,
    QLineEdit,
    QMessageBox,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_focusstack.core.progress import Job, Progress
from napari_focusstack.io.provenance import fused_provenance, ranges
from napari_focusstack.io.write import CONTENT, Part, position_paths, write_fused_job
from napari_focusstack.widgets.fuse_run import FuseResult
from napari_focusstack.widgets.job import JobBar
from napari_focusstack.widgets.open_form import without_icons

PARTS: Mapping[Part, tuple[str, str]] = {
    "image": ("fused", "Fused image"),
    "index": ("index", "Slice index"),
    "depth": ("height", "Height in µm"),
    "confidence": ("confidence", "Confidence"),
}
"""What can be written: the word in the file's name, and what to call it."""


def propose_path(result: FuseResult, *, word: str = "fused", ending: str = ".ome.tif") -> Path:
    """Where to write a result: ``<source>_fused.ome.tif`` beside the source, or in the home folder."""
    stack = result.source.stack
    source = stack.source
    if source is None:
        return Path.home() / f"{_file_name(stack.name)}_{word}{ending}"
    stem = source.name if source.is_dir() else re.sub(r"(\.ome)?\.[^.]+$", "", source.name)
    # A folder of slices gets no further slice into it.
    return source.parent / f"{_file_name(stem)}_{word}{ending}"


def part_path(path: Path, part: Part) -> Path:
    """Name of the file of a part, beside that of the fused image: ``A01_fused`` → ``A01_index``."""
    if part == "image":
        return path
    stem, ending = re.fullmatch(r"(.*?)((?:\.ome)?\.[^.]+)", path.name).groups()  # type: ignore[union-attr]
    return path.with_name(f"{stem.removesuffix('_fused')}_{PARTS[part][0]}{ending}")


def final_paths(result: FuseResult, path: Path, parts: Iterable[Part]) -> list[Path]:
    """Every file that an export writes: one for each part, and for each position where there are several."""
    fused = result.fused
    n = fused.image.shape[fused.axes.index("P")] if "P" in fused.axes else 1
    return [where for part in parts for where in position_paths(part_path(path, part), n)]


class ExportJob:
    """Makes the job that writes the parts of a result, all of them or none; returns the files' paths.

    Parameters
    ----------
    result : FuseResult
        What to write.
    path : Path
        File of the fused image; those of the other parts are named after it.
    parts : sequence of str
        Which parts.
    overwrite : bool
        Whether files that are there are replaced; the source never is.
    retouched : mapping of str to int, optional
        How many pixels were painted by hand, by the slice they were taken from.
    """

    def __init__(
        self,
        result: FuseResult,
        path: Path,
        *,
        parts: Sequence[Part],
        overwrite: bool,
        retouched: Mapping[str, int] | None = None,
    ) -> None:
        self.result = result
        self.path = path
        self.parts = tuple(parts)
        self.overwrite = overwrite
        self.retouched = retouched or {}

    def __call__(self) -> Job[list[Path]]:
        """Make the job; called in the thread that runs it."""
        result, stack = self.result, self.result.source.stack
        lengths = dict(zip(result.fused.axes, result.fused.image.shape, strict=True))
        more: dict[str, Any] = {}
        for letter, words in (("T", "Time point"), ("P", "Position")):
            if letter in result.at and stack.size(letter) > 1:
                first = result.at[letter]
                more[words] = ranges(range(first, first + lengths[letter]))
        if result.source.alone:
            more["Channel"] = result.source.keys[0]
        if self.retouched:
            more["Retouched"] = ", ".join(f"{n} pixels from {name}" for name, n in self.retouched.items())
        yield Progress(0, 1, "Hashing the source")
        fused = result.measured() if "depth" in self.parts else result.fused
        paths: dict[Part, str | Path] = {part: part_path(self.path, part) for part in self.parts}
        said = fused_provenance(fused, stack, more=more)
        return (yield from write_fused_job(paths, fused, stack, provenance=said, overwrite=self.overwrite))


class ExportDialog(QDialog):
    """Asks where to write a result, and which parts of it.

    Parameters
    ----------
    result : FuseResult
        What to write.
    retouched : mapping of str to int, optional
        How many pixels were painted by hand, by the slice they were taken from; goes into the files.
    """

    def __init__(
        self, result: FuseResult, *, retouched: Mapping[str, int] | None = None, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self._result = result
        self._retouched = retouched
        self.setWindowTitle("Export")
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.path_edit = QLineEdit(str(propose_path(result)))
        self.path_edit.setMinimumWidth(420)
        self.browse_button = QPushButton("Browse…")
        self.boxes = {part: QCheckBox(words) for part, (_, words) in PARTS.items()}
        for part, box in self.boxes.items():
            box.setChecked(True)
            box.setToolTip(CONTENT[part])
        if result.shown is None:
            self.boxes["depth"].setChecked(False)
            self.boxes["depth"].setEnabled(False)
            self.boxes["depth"].setText("Height in µm (needs the z step)")
        self.files = QLabel()
        self.files.setWordWrap(True)
        self.problem = QLabel()
        self.problem.setWordWrap(True)
        self.bar = JobBar("Export", tooltip="Write the files")
        self.buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close, parent=self)

        row = QHBoxLayout()
        row.addWidget(self.path_edit, 1)
        row.addWidget(self.browse_button)
        layout = QVBoxLayout(self)
        layout.addLayout(row)
        for box in self.boxes.values():
            layout.addWidget(box)
        layout.addWidget(self.files)
        layout.addWidget(self.problem)
        layout.addWidget(self.bar)
        layout.addWidget(self.buttons)
        layout.setSizeConstraint(QLayout.SizeConstraint.SetMinimumSize)
        without_icons(self.buttons)

        self.browse_button.clicked.connect(self._on_browse)
        self.path_edit.textChanged.connect(self._on_edited)
        for box in self.boxes.values():
            box.toggled.connect(self._on_edited)
        self.bar.requested.connect(self._on_export)
        self.bar.runner.succeeded.connect(self._on_written)
        self.bar.runner.failed.connect(self._on_failed)
        self.buttons.rejected.connect(self.reject)
        self._on_edited()

    @property
    def parts(self) -> tuple[Part, ...]:
        """The parts that are ticked."""
        return tuple(part for part, box in self.boxes.items() if box.isChecked() and box.isEnabled())

    @property
    def path(self) -> Path:
        """File of the fused image."""
        return Path(self.path_edit.text().strip()).expanduser()

    def reject(self) -> None:
        """Close; an export that is running is given up."""
        self.bar.runner.cancel()
        super().reject()

    def _on_browse(self) -> None:
        path, _ = QFileDialog.getSaveFileName(
            self,
            "Export the fused image",
            self.path_edit.text(),
            "TIFF (*.ome.tif *.tif *.tiff)",
            options=QFileDialog.Option.DontConfirmOverwrite,
        )
        if path:
            if not path.lower().endswith((".tif", ".tiff")):
                path += ".ome.tif"
            self.path_edit.setText(path)

    def _on_edited(self) -> None:
        self.problem.clear()
        self.problem.hide()
        good = self.path.suffix.lower() in (".tif", ".tiff")
        if not good:
            self._on_failed("The name of the file must end with .ome.tif or .tif.")
        self.bar.run_button.setEnabled(good and bool(self.parts))
        names = [p.name for p in final_paths(self._result, self.path, self.parts)] if good else []
        self.files.setText("Writes " + ", ".join(names) if names else "")

    def _on_export(self) -> None:
        there = [p.name for p in final_paths(self._result, self.path, self.parts) if p.exists()]
        if there and not self._may_overwrite(there):
            return
        self.problem.hide()
        self.bar.runner.start(
            ExportJob(self._result, self.path, parts=self.parts, overwrite=bool(there), retouched=self._retouched)
        )

    def _may_overwrite(self, names: list[str]) -> bool:
        answer = QMessageBox.question(
            self,
            "Export",
            f"{', '.join(names)} {'exists' if len(names) == 1 else 'exist'} already. Overwrite?",
            QMessageBox.StandardButton.Yes | QMessageBox.StandardButton.No,
            QMessageBox.StandardButton.No,
        )
        return bool(answer == QMessageBox.StandardButton.Yes)

    def _on_failed(self, problem: str) -> None:
        self.problem.setText(problem)
        self.problem.show()

    def _on_written(self, paths: list[Path]) -> None:
        show_info(f"Wrote {', '.join(p.name for p in paths)} in {paths[0].parent}")
        self.accept()


def _file_name(name: str) -> str:
    """A name without the characters that some file systems refuse."""
    return re.sub(r'[\\/:*?"<>|\x00-\x1f]+', "_", name).strip(" .") or "stack"
