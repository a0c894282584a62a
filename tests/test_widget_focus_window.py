"""The Focus widget in a real window."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
from qtpy.QtCore import QPoint, Qt

from focus_bench import CALIBRATED, held, stack

Make = Callable[..., Any]


def test_the_whole_job_by_mouse_in_a_real_window(make_napari_viewer: Make, qtbot: Any) -> None:
    viewer = make_napari_viewer(show=True)
    viewer.add_image(stack(), name="A01", **CALIBRATED)
    focus = viewer.window.add_plugin_dock_widget("napari-focusstack", "Focus")[1]
    qtbot.mouseClick(focus.form.job_bar.run_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: focus.scored is not None, timeout=60_000)
    plot = focus.form.plot
    at = plot.mapFromScene(plot.box.mapViewToScene(plot.box.viewRect().center()))
    qtbot.mouseClick(plot.viewport(), Qt.MouseButton.LeftButton, pos=QPoint(at.x(), at.y()))
    qtbot.waitUntil(lambda: plot.shown_slice == 3, timeout=60_000)
    qtbot.mouseClick(focus.form.picks.accept_button, Qt.MouseButton.LeftButton)
    assert focus.form.picks.table.item(0, 0).text() == "A01"
    assert not focus.form.verticalScrollBar().isVisible() or focus.height() < 700


def test_a_stack_is_scored_while_fuse_is_docked_over_the_same_layer(make_napari_viewer: Make, qtbot: Any) -> None:
    viewer = make_napari_viewer(show=True)
    viewer.add_image(stack(), name="A01", **CALIBRATED)
    dock, focus = viewer.window.add_plugin_dock_widget("napari-focusstack", "Focus")
    _, fuse = viewer.window.add_plugin_dock_widget("napari-focusstack", "Fuse")
    qtbot.waitUntil(lambda: bool(viewer.window._qt_window.tabifiedDockWidgets(dock)), timeout=60_000)
    dock.raise_()
    before = focus.target
    qtbot.mouseClick(focus.form.job_bar.run_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: focus.scored is not None, timeout=60_000)
    assert focus.layer is fuse.layer is viewer.layers["A01"]
    assert focus.target == before


def test_closing_the_dock_stops_the_job_and_frees_the_widget(make_napari_viewer: Make, qtbot: Any) -> None:
    viewer = make_napari_viewer()
    viewer.add_image(stack(n=60, size=512))
    focus = viewer.window.add_plugin_dock_widget("napari-focusstack", "Focus")[1]
    focus.form.job_bar.run_button.click()
    runner = focus.form.job_bar.runner
    viewer.window.remove_dock_widget(focus)
    assert not runner.busy
    assert "P" not in {str(key) for key in viewer.keymap}
    gone = weakref.ref(focus)
    del focus, runner

    def collected() -> bool:
        gc.collect()
        return gone() is None

    qtbot.waitUntil(collected, timeout=60_000)


def test_the_viewer_can_be_closed_while_slices_are_scored(
    make_napari_viewer: Make, qtbot: Any, go_on: threading.Event
) -> None:
    viewer = make_napari_viewer()
    viewer.add_image(held(stack(n=9), go_on, after=4), contrast_limits=(0, 255), visible=False)
    focus = viewer.window.add_plugin_dock_widget("napari-focusstack", "Focus")[1]
    go_on.clear()
    focus.form.job_bar.run_button.click()
    qtbot.waitUntil(lambda: np.isfinite(focus.form.plot.view.values).sum() == 4, timeout=60_000)
    runner = focus.form.job_bar.runner
    viewer.close()
    qtbot.waitUntil(lambda: not runner.busy, timeout=60_000)
    assert focus.scored is None
    go_on.set()


def test_the_curve_follows_the_theme(make_napari_viewer: Make) -> None:
    viewer = make_napari_viewer()
    focus = viewer.window.add_plugin_dock_widget("napari-focusstack", "Focus")[1]
    viewer.theme = "light"
    light = focus.form.plot.backgroundBrush().color().lightness()
    viewer.theme = "dark"
    assert focus.form.plot.backgroundBrush().color().lightness() < light
