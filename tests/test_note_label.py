"""Notes below fields: to be read at any width, in any theme."""

from __future__ import annotations

import numpy as np
import pytest
from qtpy.QtGui import QImage

from fuse_scenes import named, open_in, scene


def contrast(label) -> float:
    """Ratio of the luminances of text and background (WCAG 2), as they are on the screen."""
    image = label.grab().toImage().convertToFormat(QImage.Format.Format_RGB888)
    rows = [[image.pixelColor(x, y).getRgbF()[:3] for x in range(image.width())] for y in range(image.height())]
    linear = np.where(np.array(rows) <= 0.04045, np.array(rows) / 12.92, ((np.array(rows) + 0.055) / 1.055) ** 2.4)
    light = linear @ (0.2126, 0.7152, 0.0722)
    return float((light.max() + 0.05) / (light.min() + 0.05))


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_the_notes_of_methods_are_legible_and_whole(make_napari_viewer, qtbot, theme):
    viewer = make_napari_viewer(show=True)
    viewer.theme = theme
    open_in(viewer, named(scene()))
    _, fuse = viewer.window.add_plugin_dock_widget("napari-focusstack", "Fuse")
    _, masks = viewer.window.add_plugin_dock_widget("napari-focusstack", "Focus masks")
    for widget, box, note in (
        (fuse, fuse.form.method_box, fuse.form.method_note),
        (masks, masks.method_box, masks.method_note),
    ):
        widget.parent().raise_()
        qtbot.waitUntil(note.isVisible, timeout=60_000)
        for i in range(box.count()):
            box.setCurrentIndex(i)
            qtbot.wait(20)
            assert note.height() >= note.heightForWidth(note.width())
            assert note.width() > 0.85 * widget.width()
            assert note.geometry().bottom() <= note.parent().height()
        assert contrast(note) > 4.5
