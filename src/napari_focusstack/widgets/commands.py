"""Menu commands: *Open z-stack…*, *Set calibration…*, *Score focus*, *Fuse stack…*."""

from __future__ import annotations

from typing import Any

import napari
from napari.utils.notifications import show_warning

from napari_focusstack.core.errors import InputError

DISPLAY_NAME = "Focus Stack"


def open_stack() -> Any:
    """Open the form of *Open z-stack…*."""
    from napari_focusstack.widgets.open_stack import OpenStackDialog

    viewer = _viewer()
    dialog = OpenStackDialog(viewer, _main_window(viewer))
    dialog.open()
    return dialog


def set_calibration() -> Any:
    """Open the form of *Set calibration…* for the selected layer."""
    from napari_focusstack.widgets.open_layer import CalibrationDialog

    viewer = _viewer()
    layer = viewer.layers.selection.active
    if layer is None:
        show_warning("No layer is selected: select the stack in the list of layers first.")
        return None
    try:
        dialog = CalibrationDialog(viewer, layer, _main_window(viewer))
    except InputError as error:
        show_warning(error.in_napari)
        return None
    dialog.open()
    return dialog


def score_layer() -> Any:
    """Dock *Focus* with the selected layer chosen, and score it."""
    from napari_focusstack.widgets.focus import FocusWidget

    widget = _dock("Focus", FocusWidget)
    widget.form.job_bar.run_button.click()
    return widget


def fuse_layer() -> Any:
    """Dock *Fuse* with the selected layer chosen."""
    from napari_focusstack.widgets.fuse import FuseWidget

    return _dock("Fuse", FuseWidget)


def _dock(title: str, kind: type[Any]) -> Any:
    viewer = _viewer()
    layer = viewer.layers.selection.active
    # The name that napari's Plugins menu gives it: there is one dock, whichever way it was opened.
    name = f"{title} ({DISPLAY_NAME})"
    widget = viewer.window.dock_widgets.get(name)
    if widget is None:
        widget = kind(viewer)
        # Behind each other: half a small window is too low for either.
        viewer.window.add_dock_widget(widget, name=name, tabify=True)
    dock = widget.parent()
    dock.show()
    dock.raise_()
    if layer is not None:
        widget.choose_layer(layer)
    return widget


def _viewer() -> Any:
    viewer = napari.current_viewer()
    if viewer is None:
        raise RuntimeError("no napari viewer is open")
    return viewer


def _main_window(viewer: Any) -> Any:
    return viewer.window._qt_window
