"""What *Fuse* made so far: its layers, and what can be done with them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from qtpy.QtWidgets import QGridLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from napari_focusstack.widgets.fuse_run import (
    NOT_FOR_QUANTIFICATION,
    FuseResult,
    NewLayer,
    layers_of_result,
)
from napari_focusstack.widgets.layers import METADATA


@dataclass
class Made:
    """A result and the layers that show it."""

    result: FuseResult
    layers: list[tuple[NewLayer, Any]] = field(default_factory=list)

    def of_role(self, role: str) -> list[Any]:
        """The layers of one role."""
        return [layer for new, layer in self.layers if new.role == role]


class ResultPanel(QWidget):
    """Adds results to the viewer, and offers what can be done with the one that is selected.

    Parameters
    ----------
    viewer : napari.Viewer
        Where the layers go.
    """

    def __init__(self, viewer: Any, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._made: list[Made] = []
        self.title = QLabel()
        self.title.setWordWrap(True)
        self.note = QLabel(NOT_FOR_QUANTIFICATION)
        self.note.setWordWrap(True)
        self.export_button = QPushButton("Export…")
        self.export_button.setToolTip("Write the fused image, and its index and height map, as OME-TIFF")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 6, 0, 0)
        layout.addWidget(self.title)
        layout.addWidget(self.note)
        self.grid = QGridLayout()
        self.grid.addWidget(self.export_button, 0, 0)
        layout.addLayout(self.grid)
        self.refresh()

    @property
    def current(self) -> Made | None:
        """The result that the selected layer shows, else the last one."""
        active = self._viewer.layers.selection.active
        for made in self._made:
            if any(layer is active for _, layer in made.layers):
                return made
        return self._made[-1] if self._made else None

    def add(self, result: FuseResult) -> Made:
        """Add the layers of a result; those of an earlier one of the same name are replaced."""
        made = Made(result)
        for new in layers_of_result(result):
            made.layers.append((new, self._show(new)))
        fused = made.of_role("fused")
        self._made = [m for m in self._made if not {id(o) for _, o in m.layers} & {id(o) for _, o in made.layers}]
        self._made.append(made)
        self._viewer.layers.selection.active = fused[-1]
        self.refresh()
        return made

    def forget_deleted(self) -> None:
        """Drop results whose fused images are no longer in the viewer."""
        kept = [made for made in self._made if any(layer in self._viewer.layers for layer in made.of_role("fused"))]
        if len(kept) != len(self._made):
            self._made = kept
            self.refresh()

    def refresh(self) -> None:
        """Say which result the buttons are for."""
        made = self.current
        self.setVisible(made is not None)
        if made is not None:
            self.title.setText(f"<b>{made.of_role('fused')[-1].name}</b>")

    def _show(self, new: NewLayer) -> Any:
        """Put a layer into the viewer, or its data into the layer that shows the same thing already."""
        name = new.kwargs["name"]
        old = next((layer for layer in self._viewer.layers if layer.name == name), None)
        if old is not None and old.metadata.get(METADATA, {}).get("role") == new.role and old.ndim == _ndim(new):
            old.data = new.data
            old.scale, old.translate = new.kwargs.get("scale", old.scale), new.kwargs.get("translate", old.translate)
            old.metadata = {**old.metadata, **new.kwargs["metadata"]}
            if new.role != "fused":
                old.contrast_limits = new.kwargs["contrast_limits"]
            return old
        layer = self._viewer.add_image(new.data, **new.kwargs)
        if new.role != "fused":
            layer.colorbar.visible = True
        return layer


def _ndim(new: NewLayer) -> int:
    return int(new.data.ndim) - bool(new.kwargs.get("rgb", False))
