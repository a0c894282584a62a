"""Docks of ours on a small screen: everything within reach, nothing clipped, no gaps."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from qtpy.QtWidgets import QAbstractButton, QAbstractSpinBox, QComboBox, QGraphicsView, QScrollArea

from napari_focusstack.widgets.curve import CurveView
from napari_focusstack.widgets.layers import stack_of
from napari_focusstack.widgets.open_layer import set_calibration
from napari_focusstack.widgets.open_values import Calibration
from napari_focusstack.widgets.tab_order import STOPS

pytest.importorskip("pytestqt")
PLUGIN = "napari-focusstack"


@pytest.fixture
def viewer(make_napari_viewer, qtbot):
    viewer = make_napari_viewer(show=True)
    viewer.window.resize(1280, 800)
    with qtbot.waitExposed(viewer.window._qt_window, timeout=60_000):
        pass
    rng = np.random.default_rng(0)
    viewer.add_image(rng.integers(0, 255, (5, 64, 64), dtype=np.uint8), name="A01")
    return viewer


def test_the_picks_are_above_the_fold_beside_another_dock(viewer, qtbot):
    _, focus = viewer.window.add_plugin_dock_widget(PLUGIN, "Focus")
    qtbot.wait(100)
    viewer.window.add_plugin_dock_widget(PLUGIN, "Fuse")
    focus.parent().raise_()
    focus.form.picks.pick_button.click()
    view, button = focus.form.viewport(), focus.form.picks.save_button
    qtbot.waitUntil(lambda: view.width() >= focus.form.widget().width(), timeout=60_000)
    qtbot.waitUntil(lambda: not focus.form.verticalScrollBar().isVisible(), timeout=60_000)
    assert view.rect().contains(button.mapTo(view, button.rect().bottomRight()))


@pytest.mark.parametrize("scorer", ["gmanet", "hhnet", "mmdf", "ldsenet"])
def test_no_scorer_widens_the_dock(viewer, qtbot, scorer):
    _, focus = viewer.window.add_plugin_dock_widget(PLUGIN, "Focus")
    qtbot.wait(100)
    width = focus.width()
    focus.form.scorer_box.choose(scorer)
    if scorer == "ldsenet":
        assert focus.optics.isVisible()
        for field, value in ((focus.optics.na, 0.75), (focus.optics.wavelength_nm, 520), (focus.optics.pixel_um, 0.5)):
            field.setValue(value)
        qtbot.wait(100)
        assert focus.width() < width + 10
        focus.optics.button.click()
    focus.form.map_box.setChecked(True)
    focus.form.job_bar.run_button.click()
    qtbot.waitUntil(lambda: focus.scored is not None, timeout=60_000)
    qtbot.wait(200)
    assert focus.form.attention_box.isVisible() == (scorer == "gmanet")
    assert focus.form.legend.isVisible()
    assert focus.width() < width + 10


def test_the_name_of_the_values_fits_beside_a_low_curve(viewer, qtbot):
    _, focus = viewer.window.add_plugin_dock_widget(PLUGIN, "Focus")
    plot = focus.form.plot
    for height, text in ((300, "GMANet (score, 100 is clearest)"), (200, "score, 100 is clearest"), (300, "GMANet")):
        plot.setFixedHeight(height)
        plot.set_view(CurveView(3, np.arange(3.0), "GMANet (score, 100 is clearest)"))
        qtbot.wait(50)
        shown = plot.axis_label
        assert shown.startswith(text)
        assert plot.fontMetrics().horizontalAdvance(shown) < height


def test_the_method_note_fits_with_and_without_the_hint_above(viewer, qtbot):
    _, fuse = viewer.window.add_plugin_dock_widget(PLUGIN, "Fuse")
    layer = viewer.layers[0]
    note = fuse.form.method_note
    heights = []
    for step in range(2):
        qtbot.wait(200)
        assert fuse.hint.isVisible() == (step == 0)
        assert note.height() >= note.fontMetrics().boundingRect(note.contentsRect(), 0x1000, note.text()).height()
        heights.append(fuse.form.height())
        gap = (
            fuse.bar.mapTo(fuse, fuse.bar.rect().topLeft()).y()
            - fuse.form.align_box.mapTo(fuse, fuse.form.align_box.rect().bottomLeft()).y()
        )
        assert gap < 20
        set_calibration(viewer, layer, stack_of(layer), Calibration("ZYX", 0.5, 0.5, 2.0))
    assert heights[1] < heights[0]


@pytest.mark.parametrize("dock", ["Focus", "Fuse", "Focus masks", "Restore", "Microscope"])
def test_the_tab_key_goes_from_top_to_bottom_and_everything_says_what_it_is_for(viewer, qtbot, dock):
    _, widget = viewer.window.add_plugin_dock_widget(PLUGIN, dock)
    qtbot.wait(200)
    stops, at = [], widget.nextInFocusChain()
    while at != widget:
        stops.append(at)
        at = at.nextInFocusChain()
    stops = [
        x for x in stops if widget.isAncestorOf(x) and x.isVisible() and x.focusPolicy() in STOPS and not _inner(x)
    ]
    heights = [x.mapTo(widget, x.rect().center()).y() for x in stops]
    assert all(b > a - 12 for a, b in pairwise(heights)), stops
    assert not [x for x in stops if isinstance(x, (QScrollArea, QGraphicsView))]
    fields = (QAbstractButton, QComboBox, QAbstractSpinBox)
    assert not [x for kind in fields for x in widget.findChildren(kind) if x.isVisible() and not x.toolTip()]


def _inner(x):
    """Whether it is a part of a field that is a stop itself, or hands the keyboard to a part."""
    return x.focusProxy() is not None or isinstance(x.parentWidget(), (QComboBox, QAbstractSpinBox))
