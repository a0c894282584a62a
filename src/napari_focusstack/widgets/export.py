"""*Export…*: a result as TIFF files beside its source, never over it."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path

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

from napari_focusstack.core.errors import InputError
from napari_focusstack.core.progress import Job, Progress
from napari_focusstack.core.stack import Stack
from napari_focusstack.io.provenance import fused_provenance
from napari_focusstack.io.write import write_stack
from napari_focusstack.widgets.fuse_run import FuseResult
from napari_focusstack.widgets.job import JobBar
from napari_focusstack.widgets.open_form import without_icons

PARTS = {"fused": "Fused image", "index": "Slice index", "height": "Height in µm"}
"""What can be written, by the word in the file's name."""

CONTENT = {
    "fused": "fused image",
    "index": "slice of the source that each pixel came from, 0-based",
    "height": "height of the sharpest point in µm",
}


def propose_path(result: FuseResult, *, word: str = "fused", ending: str = ".ome.tif") -> Path:
    """Where to write a result: ``<source>_fused.ome.tif`` beside the source, or in the home folder."""
    stack = result.source.stack
    source = stack.source
    if source is None:
        return Path.home() / f"{_file_name(stack.name)}_{word}{ending}"
    stem = source.name if source.is_dir() else re.sub(r"(\.ome)?\.[^.]+$", "", source.name)
    # A folder of slices gets no further slice into it.
    return source.parent / f"{_file_name(stem)}_{word}{ending}"


def part_path(path: Path, part: str) -> Path:
    """Name of the file of a part, beside that of the fused image: ``A01_fused`` → ``A01_index``."""
    if part == "fused":
        return path
    stem, ending = re.fullmatch(r"(.*?)((?:\.ome)?\.[^.]+)", path.name).groups()  # type: ignore[union-attr]
    return path.with_name(f"{stem.removesuffix('_fused')}_{part}{ending}")


def part_stack(result: FuseResult, part: str) -> Stack:
    """A part of a result as a `Stack` with the calibration of its source; positions one behind the other as time."""
    stack, fused = result.source.stack, result.fused
    data = {"fused": fused.image, "index": fused.index, "height": fused.depth_um}[part]
    axes = fused.axes if part == "fused" else result.map_axes
    if data is None:
        raise InputError(f"The z step of '{stack.name}' is not known, so there is no height in µm: set the z step.")
    where = tuple(0 if n == 1 and a in "PT" else slice(None) for a, n in zip(axes, data.shape, strict=True))
    axes = "".join(a for a, w in zip(axes, where, strict=True) if w != 0)
    return Stack(
        data[where],
        axes,
        name=f"{stack.name} {PARTS[part].lower()}",
        y_um=stack.y_um,
        x_um=stack.x_um,
        channels=stack.channels if "C" in axes else (),
        source=stack.source,
        metadata=stack.metadata,
    )


class ExportJob:
    """Makes the job that writes the parts of a result, each file whole or not at all; returns the files' paths."""

    def __init__(
        self,
        result: FuseResult,
        path: Path,
        *,
        parts: tuple[str, ...],
        overwrite: bool,
        retouched: Mapping[str, int] | None = None,
    ) -> None:
        self.result = result
        self.path = path
        self.parts = parts
        self.overwrite = overwrite
        self.retouched = retouched or {}

    def __call__(self) -> Job[list[Path]]:
        """Make the job; called in the thread that runs it."""
        result, stack = self.result, self.result.source.stack
        more = {"Alignment": "slices registered first" if result.settings.align else "none"}
        more |= {
            {"T": "Time point", "P": "Position"}[a]: f"from {n}" for a, n in result.at.items() if stack.size(a) > 1
        }
        if self.retouched:
            more["Retouched"] = ", ".join(f"{n} pixels from {name}" for name, n in self.retouched.items())
        yield Progress(0, len(self.parts) + 1, "Hashing the source")
        said = fused_provenance(result.fused, stack, more=more)
        jobs = [(part_path(self.path, part), flat, part) for part in self.parts for flat in [part_stack(result, part)]]
        written: list[Path] = []
        for i, (path, flat, part) in enumerate(jobs, 1):
            yield Progress(i, len(jobs) + 1, f"Writing {path.name}")
            for where, one in _by_position(path, flat):
                written.append(
                    write_stack(where, one, provenance={"Content": CONTENT[part], **said}, overwrite=self.overwrite)
                )
        yield Progress(len(jobs) + 1, len(jobs) + 1, "Written")
        return written


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
        self.boxes = {part: QCheckBox(words) for part, words in PARTS.items()}
        for part, box in self.boxes.items():
            box.setChecked(part == "fused" or (part == "index") or result.fused.depth_um is not None)
            box.setToolTip(CONTENT[part])
        if result.fused.depth_um is None:
            self.boxes["height"].setEnabled(False)
            self.boxes["height"].setText("Height in µm (needs the z step)")
        self.files = QLabel()
        self.files.setWordWrap(True)
        self.files.setEnabled(False)
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
    def parts(self) -> tuple[str, ...]:
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
        names = [part_path(self.path, part).name for part in self.parts] if good else []
        self.files.setText("Writes " + ", ".join(names) if names else "")

    def _on_export(self) -> None:
        there = [p.name for p in (part_path(self.path, part) for part in self.parts) if p.exists()]
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


def _by_position(path: Path, stack: Stack) -> list[tuple[Path, Stack]]:
    """A file holds one position: several get a number each."""
    if stack.n_positions == 1:
        return [(path, stack)]
    stem, ending = re.fullmatch(r"(.*?)((?:\.ome)?\.[^.]+)", path.name).groups()  # type: ignore[union-attr]
    return [
        (path.with_name(f"{stem}_p{p}{ending}"), dataclasses.replace(stack, data=stack.data[p], axes=stack.axes[1:]))
        for p in range(stack.n_positions)
    ]


def _file_name(name: str) -> str:
    """A name without the characters that some file systems refuse."""
    return re.sub(r'[\\/:*?"<>|\x00-\x1f]+', "_", name).strip(" .") or "stack"
