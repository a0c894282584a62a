"""*Set calibration…*: the same form for a layer that is open already."""

from __future__ import annotations

from typing import Any

import numpy as np
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QDialog, QDialogButtonBox, QLabel, QLayout, QVBoxLayout, QWidget

from napari_focusstack.core.errors import InputError
from napari_focusstack.core.stack import Stack
from napari_focusstack.widgets.layers import METADATA, identity, name_axes, show, shown_at, source_id, stack_of
from napari_focusstack.widgets.open_form import StackForm, without_icons
from napari_focusstack.widgets.open_stack import open_stacks
from napari_focusstack.widgets.open_values import Calibration, guess_missing


class CalibrationDialog(QDialog):
    """Asks for the axes, pixel size and z step of a layer and puts them on it.

    Parameters
    ----------
    viewer : napari.Viewer
        The viewer of the layer; layers that belong to it (its other channels, its results) follow.
    layer : napari.layers.Image
        The layer.

    Raises
    ------
    InputError
        If the layer can't be a stack.
    """

    def __init__(self, viewer: Any, layer: Any, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._layer = layer
        self._stack = stack_of(layer)
        self.setWindowTitle(f"Calibration of {layer.name}")
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.form = StackForm(said_by="layer")
        self.message = QLabel()
        self.message.setWordWrap(True)
        self.buttons = QDialogButtonBox(
            QDialogButtonBox.StandardButton.Ok | QDialogButtonBox.StandardButton.Cancel, parent=self
        )
        self.ok_button = self.buttons.button(QDialogButtonBox.StandardButton.Ok)
        layout = QVBoxLayout(self)
        layout.addWidget(self.form)
        layout.addWidget(self.message)
        layout.addStretch(1)
        layout.addWidget(self.buttons)
        layout.setSizeConstraint(QLayout.SizeConstraint.SetMinimumSize)
        without_icons(self.buttons)
        self.setMinimumWidth(420)
        self.form.changed.connect(self._on_form)
        self.buttons.accepted.connect(self._on_ok)
        self.buttons.rejected.connect(self.reject)
        others = [stack for stack in open_stacks(viewer) if stack.name != self._stack.name]
        self.form.fill(self._stack, guess=guess_missing(self._stack, others))

    def _on_form(self) -> None:
        try:
            self.form.calibrated()
            problem = ""
        except InputError as error:
            problem = error.in_napari
        self.message.setText(problem)
        self.message.setVisible(bool(problem))
        self.ok_button.setEnabled(not problem)

    def _on_ok(self) -> None:
        if self._layer in self._viewer.layers:
            set_calibration(self._viewer, self._layer, self._stack, self.form.calibration())
        self.accept()


def set_calibration(viewer: Any, layer: Any, stack: Stack, calibration: Calibration) -> None:
    """Put a calibration on a layer and on those that belong to it.

    Parameters
    ----------
    viewer : napari.Viewer
        The viewer of the layer.
    layer : napari.layers.Image
        The layer.
    stack : Stack
        What `stack_of` says of the layer; `calibration` names its axes in this order.
    calibration : Calibration
        The new names and lengths.
    """
    new_name = dict(zip(stack.axes, calibration.axes, strict=True))
    shown = {new_name[a]: i for a, i in shown_at(layer, viewer.dims).items() if new_name.get(a, a) not in "YX"}
    heights = calibration.z_positions_um
    z_um = calibration.z_um
    if heights is not None and len(heights) > 1:
        z_um = abs(heights[-1] - heights[0]) / (len(heights) - 1) or None
    um = {"Y": calibration.y_um, "X": calibration.x_um, "Z": z_um}
    old, _ = name_axes(layer.axis_labels)
    steps = {a: um.get(new_name[a]) or 1.0 for a in old}
    factors = {a: steps[a] / abs(layer.scale[i] or 1.0) for i, a in enumerate(old)}
    z_axis = next((i for i, a in enumerate(old) if new_name[a] == "Z"), None)
    z_from, z_scale = (0.0, 1.0) if z_axis is None else (layer.translate[z_axis], layer.scale[z_axis] or 1.0)
    z_to = heights[0] if heights else 0.0 if _stored_heights(layer) else z_from * factors.get(old[z_axis or 0], 1.0)
    for other in _belonging(viewer, layer):
        letters, _ = name_axes(other.axis_labels)
        # A map of patches has steps of its own: everything is stretched, nothing set.
        factor = np.array([factors.get(a, 1.0) for a in letters])
        translate = np.asarray(other.translate) * factor
        known = {**other.metadata.get(METADATA, {})}
        known.pop("z_positions_um", None)
        if z_axis is not None and old[z_axis] in letters:
            i = letters.index(old[z_axis])
            first = (other.translate[i] - z_from) / z_scale
            translate[i] = z_to + first * steps[old[z_axis]]
            if "role" not in known and heights:  # slices of the source, all or some of them
                known["z_positions_um"] = list(heights[round(first) :][: other.data.shape[i]])
        other.units = ["um" if um.get(new_name.get(a, a)) else "pixel" for a in letters]
        other.scale = np.asarray(other.scale) * factor
        other.translate = translate
        other.axis_labels = tuple(new_name.get(a, a).lower() for a in letters)
        if calibration.channels and (other is layer or known.get("group")):
            known["channels"] = list(calibration.channels)
        other.metadata[METADATA] = known
    if layer.ndim == viewer.dims.ndim:
        viewer.dims.axis_labels = tuple(layer.axis_labels)
    # The sliders and the camera are in world coordinates, which are others now.
    show(layer, viewer.dims, **shown)
    viewer.reset_view()


def _stored_heights(layer: Any) -> bool:
    """Whether a layer holds heights that its scale and translate can't tell."""
    return layer.metadata.get(METADATA, {}).get("z_positions_um") is not None


def _belonging(viewer: Any, layer: Any) -> list[Any]:
    """The layer, its other channels, and what was made from them, whatever they are called."""
    group = layer.metadata.get(METADATA, {}).get("group")
    found = [layer]
    if group:
        found += [o for o in viewer.layers if o is not layer and o.metadata.get(METADATA, {}).get("group") == group]
    sources = {identity(o) for o in found}
    return [*found, *(o for o in viewer.layers if o not in found and source_id(o) in sources)]
