"""The Fuse widget in a window: what it offers, what it makes, and how it takes bad input."""

from __future__ import annotations

import threading
from pathlib import Path

import dask.array as da
import numpy as np
import pytest
from napari.components import ViewerModel
from qtpy.QtWidgets import QFileDialog, QMessageBox

from fuse_scenes import (
    channels_of_two,
    click,
    fused_from_a_file,
    named,
    open_in,
    scene,
)
from napari_focusstack.core.stack import Stack, from_array
from napari_focusstack.widgets.export import ExportDialog, propose_path
from napari_focusstack.widgets.fuse import FuseWidget
from napari_focusstack.widgets.fuse_run import FuseResult
from napari_focusstack.widgets.layers import METADATA, stack_of
from napari_focusstack.widgets.open_layer import set_calibration
from napari_focusstack.widgets.open_values import Calibration


@pytest.fixture
def model() -> ViewerModel:
    return ViewerModel()


@pytest.fixture
def two_channels() -> Stack:
    return channels_of_two()


@pytest.fixture
def result(model, tmp_path) -> FuseResult:
    return fused_from_a_file(model, tmp_path)


@pytest.fixture
def viewer(make_napari_viewer):
    return make_napari_viewer()


@pytest.fixture
def widget(viewer, qtbot) -> FuseWidget:
    _, widget = viewer.window.add_plugin_dock_widget("napari-focusstack", "Fuse")
    widget.show()
    return widget


def run(widget: FuseWidget, qtbot) -> None:
    click(qtbot, widget.bar.run_button)
    qtbot.waitUntil(lambda: not widget.bar.runner.busy, timeout=60_000)
    qtbot.waitUntil(lambda: not widget.results.adding, timeout=60_000)


def test_the_stack_is_chosen_already_and_one_click_fuses_it(viewer, widget, qtbot):
    assert not widget.bar.run_button.isEnabled()
    (layer,) = open_in(viewer, named(scene()))
    assert widget.layer is layer
    run(widget, qtbot)
    assert "Added hidden (click the eye" in widget.results.title.text()
    assert "index, height µm, confidence." in widget.results.title.text()
    assert [x.name for x in viewer.layers] == [
        "A01",
        "fused A01 (pyramid)",
        "index A01 (pyramid)",
        "height µm A01 (pyramid)",
        "confidence A01 (pyramid)",
    ]
    assert viewer.layers.selection.active.name == "fused A01 (pyramid)"
    height = viewer.layers["height µm A01 (pyramid)"]
    assert height.colorbar.visible
    assert height.name_overlay.visible  # the bar itself tells no unit
    assert widget.layer is layer
    assert "quantification" in widget.results.note.text()


def test_fusing_again_replaces_the_layers_of_the_same_name(viewer, widget, qtbot):
    open_in(viewer, named(scene()))
    run(widget, qtbot)
    run(widget, qtbot)
    assert len(viewer.layers) == 5


def test_fusing_again_finds_its_layers_when_the_stack_is_renamed_and_its_look_changed(viewer, widget, qtbot):
    (layer,) = open_in(viewer, named(scene()))
    run(widget, qtbot)
    layer.name, layer.contrast_limits, layer.translate = "well A1", (10, 90), (0, 7, 3)
    run(widget, qtbot)
    assert len(viewer.layers) == 5
    fused = viewer.layers[1]
    assert tuple(fused.contrast_limits) == (10, 90)
    assert tuple(fused.translate) == (7, 3)


def test_the_result_of_a_deleted_stack_of_the_same_name_stays(viewer, widget, qtbot):
    (first,) = open_in(viewer, named(scene()))
    run(widget, qtbot)
    fused = viewer.layers["fused A01 (pyramid)"]
    before = fused.data.copy()
    viewer.layers.remove(first)
    open_in(viewer, named(scene()[:, ::-1] + np.uint16(9)))
    run(widget, qtbot)
    assert fused in viewer.layers
    assert np.array_equal(fused.data, before)
    assert len(viewer.layers) == 9


def test_results_follow_a_calibration_that_comes_later(viewer, widget, qtbot, tmp_path):
    from napari_focusstack.io.read import read_stack

    (layer,) = open_in(viewer, named(scene(), y_um=None, x_um=None, z_um=None))
    run(widget, qtbot)
    assert not any("height" in x.name for x in viewer.layers)
    set_calibration(viewer, layer, stack_of(layer), Calibration("ZYX", 0.25, 0.25, 3.0))
    qtbot.waitUntil(lambda: "height µm A01 (pyramid)" in viewer.layers, timeout=60_000)
    height = viewer.layers["height µm A01 (pyramid)"]
    before = height.data.copy()
    uneven = (0.0, 1.0, 4.0, 9.0, 16.0)
    set_calibration(viewer, layer, stack_of(layer), Calibration("ZYX", 0.25, 0.25, None, uneven))
    qtbot.waitUntil(lambda: not np.array_equal(height.data, before, equal_nan=True), timeout=60_000)
    assert np.nanmax(height.data) == pytest.approx(16, abs=0.5)
    assert tuple(height.scale) == (0.25, 0.25)

    click(qtbot, widget.results.export_button)
    dialog = widget.results.export_dialog
    dialog.path_edit.setText(str(tmp_path / "A01_fused.ome.tif"))
    click(qtbot, dialog.bar.run_button)
    qtbot.waitUntil(lambda: widget.results.export_dialog is None, timeout=60_000)
    written = read_stack(tmp_path / "A01_height.ome.tif")
    assert (written.y_um, written.x_um) == pytest.approx((0.25, 0.25))
    shown = np.isfinite(height.data)
    assert np.allclose(written.plane()[shown], height.data[shown])


def test_an_export_takes_the_scale_of_the_fused_layer_when_the_stack_is_gone(viewer, widget, qtbot):
    (layer,) = open_in(viewer, named(scene(), y_um=None, x_um=None))
    run(widget, qtbot)
    viewer.layers.remove(layer)
    fused = viewer.layers["fused A01 (pyramid)"]
    fused.units, fused.scale = ("um", "um"), (0.5, 0.5)
    made = widget.results.current
    made.recalibrate(viewer.layers)
    assert (made.result.source.stack.y_um, made.result.source.stack.x_um) == (0.5, 0.5)


def test_fusing_by_another_method_adds_all_its_layers_beside_the_first(viewer, widget, qtbot):
    open_in(viewer, named(scene()))
    run(widget, qtbot)
    widget.form.method_box.setCurrentIndex(widget.form.method_box.findData("select"))
    run(widget, qtbot)
    names = [layer.name for layer in viewer.layers]
    for words in ("fused", "index", "height µm", "confidence"):
        assert f"{words} A01 (pyramid)" in names
        assert f"{words} A01 (select)" in names


def test_channels_are_asked_for_only_where_there_are_several(viewer, widget, two_channels):
    open_in(viewer, named(scene()))
    assert widget.form.channel_box.isHidden()
    layers = open_in(viewer, two_channels)
    widget.choose_layer(layers[0])
    assert not widget.form.channel_box.isHidden()
    assert "GFP" in widget.form.channel_box.itemText(widget.form.channel_box.count() - 1)


def test_a_range_of_slices_is_fused(viewer, widget, qtbot):
    open_in(viewer, named(scene()))
    widget.form.slices.setValue((1, 3))
    run(widget, qtbot)
    assert viewer.layers["index A01 (pyramid, slices 1–3)"].data.min() >= 1


def test_the_hint_goes_when_the_lengths_are_set(viewer, widget, qtbot):
    (layer,) = open_in(viewer, named(scene(), z_um=None))
    assert "z step" in widget.hint.label.text()
    click(qtbot, widget.hint.button)
    widget.hint.dialog.form.z_step.spin.setValue(3.0)
    click(qtbot, widget.hint.dialog.ok_button)
    assert stack_of(layer).z_um == 3.0
    assert widget.hint.isHidden()


def test_the_focus_widget_gives_the_same_hint(viewer):
    (layer,) = open_in(viewer, named(scene(), z_um=None))
    focus = viewer.window.add_plugin_dock_widget("napari-focusstack", "Focus")[1]
    assert "z step" in focus.hint.label.text()
    assert not focus.hint.isHidden()
    set_calibration(viewer, layer, stack_of(layer), Calibration("ZYX", 0.5, 0.25, 2.0))
    assert focus.hint.isHidden()


@pytest.mark.parametrize(
    ("data", "axes", "said"),
    [(scene()[0], "YX", "single slice"), (scene(), "TYX", "time series without a z axis")],
)
def test_what_can_t_be_fused_says_why(viewer, widget, data, axes, said):
    open_in(viewer, from_array(data, axes=axes, name="flat"))
    assert said in widget.problem.text()
    assert not widget.bar.run_button.isEnabled()


def test_a_constant_stack_is_fused_to_the_constant(viewer, widget, qtbot):
    open_in(viewer, named(np.full((4, 32, 32), 7, np.uint8)))
    run(widget, qtbot)
    assert (viewer.layers["fused A01 (pyramid)"].data == 7).all()


def test_nan_is_told_in_a_sentence(viewer, widget, qtbot, notes):
    data = scene(dtype="float32")
    data[2, 3, 4] = np.nan
    open_in(viewer, named(data))
    run(widget, qtbot)
    assert len(viewer.layers) == 1
    assert any("NaN" in note for note in notes)
    # It stays in the panel until there is something else to say, and tells what can be done here.
    assert not widget.problem.isHidden()
    assert "viewer.layers['A01']" in widget.problem.text()
    viewer.layers["A01"].data = np.nan_to_num(data)
    run(widget, qtbot)
    assert widget.problem.isHidden()


class Gate:
    """Planes that wait until they are let through."""

    def __init__(self, data: np.ndarray) -> None:
        self.data = data
        self.open = threading.Event()
        self.asked = threading.Event()

    def block(self, block: np.ndarray) -> np.ndarray:
        self.asked.set()
        assert self.open.wait(60)
        return block

    def lazy(self) -> da.Array:
        return da.from_array(self.data, chunks=(1, *self.data.shape[1:])).map_blocks(self.block, meta=self.data[:0])


@pytest.fixture
def slow(viewer) -> Gate:
    gate = Gate(scene())
    gate.open.set()
    um = {"scale": (2.0, 0.5, 0.25), "units": "um", "axis_labels": ("z", "y", "x")}
    viewer.add_image(gate.lazy(), name="A01", contrast_limits=(0, 255), visible=False, **um)
    gate.open.clear()
    gate.asked.clear()
    yield gate
    gate.open.set()


def test_cancel_in_the_middle_adds_nothing_and_answers_at_once(viewer, widget, qtbot, slow):
    click(qtbot, widget.bar.run_button)
    qtbot.waitUntil(slow.asked.is_set, timeout=60_000)
    click(qtbot, widget.bar.cancel_button)
    assert not widget.bar.runner.busy
    slow.open.set()
    qtbot.wait(50)
    assert len(viewer.layers) == 1


def test_a_layer_deleted_while_it_is_fused_still_gives_its_result(viewer, widget, qtbot, slow):
    click(qtbot, widget.bar.run_button)
    qtbot.waitUntil(slow.asked.is_set, timeout=60_000)
    viewer.layers.clear()
    slow.open.set()
    qtbot.waitUntil(lambda: not widget.bar.runner.busy, timeout=60_000)
    assert "fused A01 (pyramid)" in viewer.layers
    assert tuple(viewer.layers["fused A01 (pyramid)"].scale) == (0.5, 0.25)


def test_the_preview_shows_and_goes_when_all_is_fused(viewer, widget, qtbot):
    open_in(viewer, named(scene()))
    click(qtbot, widget.preview_button)
    qtbot.waitUntil(lambda: "preview A01 (pyramid)" in viewer.layers, timeout=60_000)
    run(widget, qtbot)
    assert "preview A01 (pyramid)" not in viewer.layers


def test_retouching_starts_and_ends_with_its_button(viewer, widget, qtbot):
    open_in(viewer, named(scene()))
    run(widget, qtbot)
    results = widget.results
    click(qtbot, results.retouch_button)
    qtbot.waitUntil(lambda: results.retoucher is not None, timeout=60_000)
    labels = results.retoucher.labels
    assert viewer.layers.selection.active is labels
    assert labels.mode == "paint"
    labels.paint((30, 90), labels.selected_label)
    qtbot.waitUntil(lambda: "retouched" in viewer.layers["fused A01 (pyramid)"].metadata[METADATA], timeout=60_000)
    click(qtbot, results.retouch_button)
    assert labels not in viewer.layers


def test_deleting_the_painted_layer_ends_the_retouching(viewer, widget, qtbot):
    open_in(viewer, named(scene()))
    run(widget, qtbot)
    click(qtbot, widget.results.retouch_button)
    qtbot.waitUntil(lambda: widget.results.retoucher is not None, timeout=60_000)
    viewer.layers.remove(widget.results.retoucher.labels)
    assert widget.results.retoucher is None


def test_an_export_asks_before_it_overwrites(viewer, qtbot, monkeypatch, result, tmp_path):
    target = propose_path(result)
    target.write_bytes(b"mine")
    monkeypatch.setattr(QMessageBox, "question", staticmethod(lambda *_: QMessageBox.StandardButton.No))
    dialog = ExportDialog(result, parent=viewer.window._qt_window)
    dialog.show()
    click(qtbot, dialog.bar.run_button)
    assert target.read_bytes() == b"mine"
    dialog.reject()


def test_a_read_only_folder_is_told_in_one_sentence_and_nothing_is_lost(
    viewer, qtbot, monkeypatch, result, tmp_path, notes
):
    import napari_focusstack.io.atomic as atomic

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    # Root may write anywhere: the refusal comes from where the probe is made.
    monkeypatch.setattr(atomic.Path, "touch", refuse)
    dialog = ExportDialog(result, parent=viewer.window._qt_window)
    dialog.show()
    with qtbot.waitSignal(dialog.bar.runner.failed, timeout=60_000):
        click(qtbot, dialog.bar.run_button)
    assert "may not be written" in dialog.problem.text()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["A01 für Öl.ome.tif"]
    dialog.reject()


def test_the_source_can_t_be_chosen_as_target(viewer, qtbot, monkeypatch, result, tmp_path, notes):
    source = Path(result.source.stack.source)
    before = source.read_bytes()
    monkeypatch.setattr(QMessageBox, "question", staticmethod(lambda *_: QMessageBox.StandardButton.Yes))
    monkeypatch.setattr(QFileDialog, "getSaveFileName", staticmethod(lambda *_, **__: (str(source), "")))
    dialog = ExportDialog(result, parent=viewer.window._qt_window)
    dialog.show()
    click(qtbot, dialog.browse_button)
    with qtbot.waitSignal(dialog.bar.runner.failed, timeout=60_000):
        click(qtbot, dialog.bar.run_button)
    assert source.read_bytes() == before
    dialog.reject()


def test_closing_the_dock_stops_the_job(viewer, qtbot, slow):
    # Not by the fixture: pytest would keep the widget alive after napari has let it go.
    widget = viewer.window.add_plugin_dock_widget("napari-focusstack", "Fuse")[1]
    click(qtbot, widget.bar.run_button)
    qtbot.waitUntil(slow.asked.is_set, timeout=60_000)
    runner = widget.bar.runner
    viewer.window.remove_dock_widget(widget)
    assert not runner.busy
    slow.open.set()
