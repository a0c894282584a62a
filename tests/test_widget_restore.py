"""The Restore widget in a window: preview, slice, stack, and the wipe between before and after."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from fuse_scenes import click
from napari_focusstack.core.deblur import DEBLURRERS, INVENTS
from napari_focusstack.core.progress import Progress
from napari_focusstack.io.provenance import read_provenance
from napari_focusstack.io.samples import sample_stack
from napari_focusstack.widgets import restore
from napari_focusstack.widgets.layers import METADATA, layer_of, show
from napari_focusstack.widgets.restore import SEES_BLUR, RestoreWidget
from napari_focusstack.widgets.wipe import Reading, line_of
from napari_focusstack.widgets.writer import write_image


@pytest.fixture
def viewer(make_napari_viewer):
    return make_napari_viewer()


@pytest.fixture
def nucleus(viewer):
    placed = layer_of(sample_stack("nucleus"))
    return viewer.add_image(np.asarray(placed.data)[8:14], **placed.kwargs)


@pytest.fixture
def widget(viewer, nucleus, qtbot) -> RestoreWidget:
    _, widget = viewer.window.add_plugin_dock_widget("napari-focusstack", "Restore")
    widget.show()
    widget.model_box.setCurrentIndex(widget.model_box.findData("richardson_lucy"))
    return widget


def run(widget, qtbot) -> None:
    click(qtbot, widget.bar.run_button)
    qtbot.waitUntil(lambda: not widget.bar.runner.busy, timeout=60_000)


def compared(viewer, widget, qtbot):
    """The layer of the comparison, once it is there."""
    widget.compare_box.setChecked(True)

    def shown() -> list:
        return [layer for layer in viewer.layers if layer.name.startswith("before | after")]

    qtbot.waitUntil(lambda: bool(shown()) and not widget._wipe.runner.busy, timeout=60_000)
    return shown()[0]


def test_the_slice_that_is_shown_is_sharpened_and_lies_on_it(viewer, nucleus, widget, qtbot):
    viewer.dims.set_current_step(0, 3)
    run(widget, qtbot)
    made = widget.result()
    assert made.data.shape == (1, *nucleus.data.shape[1:])
    assert made.data.dtype == nucleus.data.dtype
    assert not np.array_equal(made.data[0], nucleus.data[3])
    assert np.allclose(made.data_to_world((0, 5, 7)), nucleus.data_to_world((3, 5, 7)))
    assert tuple(made.contrast_limits) == pytest.approx(tuple(nucleus.contrast_limits))
    assert made.metadata[METADATA]["method"] == "richardson_lucy"
    assert viewer.layers.selection.active is nucleus


def test_all_slices_are_sharpened_where_that_is_asked_for(nucleus, widget, qtbot):
    widget.whole_box.setChecked(True)
    run(widget, qtbot)
    assert widget.result().data.shape == nucleus.data.shape
    assert np.allclose(widget.result().scale, nucleus.scale)


def test_the_preview_shows_the_middle_of_the_screen_and_goes_when_the_result_comes(viewer, nucleus, widget, qtbot):
    click(qtbot, widget.preview_button)
    qtbot.waitUntil(lambda: not widget.preview_runner.busy, timeout=60_000)
    (preview,) = (layer for layer in viewer.layers if "preview" in layer.name)
    corner = nucleus.world_to_data(preview.data_to_world((0, 0, 0)))
    assert np.allclose(corner[1:], np.round(corner[1:]), atol=1e-6)
    run(widget, qtbot)
    assert not [layer for layer in viewer.layers if "preview" in layer.name]


def test_the_preview_is_what_the_result_will_be(viewer, widget, qtbot, monkeypatch):
    monkeypatch.setattr(restore, "PREVIEW_PX", 64)
    plane = np.tile(sample_stack("nucleus").plane(z=14), (2, 2)).astype(np.uint16)
    plane[:130] //= 3
    viewer.add_image(plane, name="uneven")
    widget.layer_box.setCurrentIndex(widget.layer_box.findText("uneven"))
    click(qtbot, widget.preview_button)
    qtbot.waitUntil(lambda: not widget.preview_runner.busy, timeout=60_000)
    (preview,) = (layer for layer in viewer.layers if "preview" in layer.name)
    made, blur = np.asarray(preview.data), preview.metadata[METADATA]["blur"]
    y, x = np.round(preview.data_to_world((0, 0))).astype(int)
    run(widget, qtbot)
    result = widget.result()
    assert made.shape == (64, 64)
    assert result.metadata[METADATA]["blur"] == blur
    assert np.abs(result.data[y : y + 64, x : x + 64].astype(int) - made).max() < 0.02 * np.ptp(plane)


def test_a_defocus_that_is_known_takes_the_place_of_the_blur(viewer, widget, qtbot, notes):
    widget.known.defocus_box.setValue(2.5)
    assert (widget.settings().defocus_um, widget.settings().blur_px) == (2.5, None)
    assert not widget.known.blur_box.isEnabled()
    widget.layer.metadata.pop(METADATA, None)
    run(widget, qtbot)
    assert any("numerical aperture" in note for note in notes)
    assert "numerical aperture" in widget.problem.text()  # a notification fades
    widget.model_box.setCurrentIndex(widget.model_box.findData("deblur_unet"))
    assert not widget.known.defocus_box.isVisibleTo(widget)
    assert widget.settings().defocus_um is None


def test_what_a_defocus_takes_can_be_given_there(nucleus, widget, qtbot):
    nucleus.metadata.pop(METADATA, None)
    assert widget.optics.isHidden()
    widget.known.defocus_box.setValue(2.5)
    assert not widget.optics.isHidden()
    assert not widget.optics.rings.isVisibleTo(widget.optics)
    widget.optics.na.setValue(0.8)
    widget.optics.wavelength_nm.setValue(520)
    widget.optics.pixel_um.setValue(0.2)
    widget.optics.button.click()
    assert not widget.optics.missing
    run(widget, qtbot)
    assert widget.problem.isHidden()
    assert widget.result().metadata[METADATA]["parameters"]["defocus_um"] == 2.5
    widget.known.defocus_box.setValue(0)
    assert widget.optics.isHidden()


def test_no_text_of_a_field_is_cut(widget, qtbot):
    widget.known.motion_box.setValue(123.4)
    widget.known.angle_box.setValue(-135)
    qtbot.wait(50)
    for box in widget.known.rows:
        line = box.lineEdit()
        assert line.fontMetrics().horizontalAdvance(line.text()) <= line.width()
    widget.known.defocus_box.setValue(3)
    qtbot.waitUntil(lambda: widget.width() >= widget.optics.minimumSizeHint().width(), timeout=60_000)


def test_a_motion_that_is_known_is_told_with_its_direction(widget, qtbot):
    assert widget.settings().motion_px is None
    widget.known.angle_box.setValue(30)
    assert widget.settings().motion_degrees == 0  # of no motion
    assert not widget.known.angle_box.isEnabled()
    assert widget.known.blur_box.text() == "estimated"
    widget.known.motion_box.setValue(9)
    assert widget.known.blur_box.text() == "none"
    assert (widget.settings().motion_px, widget.settings().motion_degrees) == (9, 30)
    run(widget, qtbot)
    kept = widget.result().metadata[METADATA]
    assert (kept["parameters"]["motion_px"], kept["parameters"]["motion_degrees"]) == (9, 30)
    assert "blur" not in kept
    widget.model_box.setCurrentIndex(widget.model_box.findData("deblur_unet"))
    assert not widget.known.motion_box.isVisibleTo(widget)


def test_results_are_told_apart_by_method_and_slice_and_the_chosen_method_is_compared(viewer, widget, qtbot):
    for z, method in ((2, "richardson_lucy"), (3, "wiener")):
        viewer.dims.set_current_step(0, z)
        widget.model_box.setCurrentIndex(widget.model_box.findData(method))
        run(widget, qtbot)
        assert widget.result().name == f"sharpened nucleus ({method}, slice {z})"
    widget.model_box.setCurrentIndex(widget.model_box.findData("richardson_lucy"))
    assert "richardson_lucy" in widget.result().name
    widget.model_box.setCurrentIndex(widget.model_box.findData("unsupervised_wiener"))
    assert widget.result() is viewer.layers[-1]


def test_the_wipe_shows_the_original_left_and_the_result_right(viewer, nucleus, widget, qtbot):
    widget.whole_box.setChecked(True)
    run(widget, qtbot)
    shown = compared(viewer, widget, qtbot)
    z = viewer.dims.current_step[0]
    line = line_of(round(nucleus.data.shape[2] / 2), nucleus.data.shape[2])
    assert np.array_equal(shown.data[:, : line.start], nucleus.data[z][:, : line.start])
    assert np.array_equal(shown.data[:, line.stop :], widget.result().data[z][:, line.stop :])
    widget.wipe_slider.setValue(1000)
    assert np.array_equal(shown.data, nucleus.data[z])
    viewer.dims.set_current_step(0, z - 1)
    qtbot.waitUntil(lambda: np.array_equal(shown.data, nucleus.data[z - 1]), timeout=60_000)
    widget.compare_box.setChecked(False)
    qtbot.wait(10)
    assert shown not in viewer.layers


@pytest.mark.parametrize("level", [0, 900])
@pytest.mark.parametrize("rgb", [False, True])
def test_the_line_of_the_wipe_shows_on_dark_and_on_bright_images_where_it_is(viewer, widget, qtbot, level, rgb):
    plane = np.full((64, 80, 3) if rgb else (64, 80), level // 4 if rgb else level, np.uint8 if rgb else np.uint16)
    plane[20:40, 10:30] += 20
    look = {} if rgb else {"contrast_limits": (0, 1000)}
    layer = viewer.add_image(plane, name="even", rgb=rgb, scale=(2, 2), translate=(30, 50), **look)
    widget.layer_box.setCurrentIndex(widget.layer_box.findText("even"))
    run(widget, qtbot)
    widget.wipe_slider.setValue(250)
    shown = compared(viewer, widget, qtbot)
    column = shown.data[:, line_of(20, 80)].reshape(64, -1).astype(float)
    assert column.shape[1] == (3 if rgb else 1)
    white = 255 if rgb else 1000
    assert set(np.unique(column)) == {0, white}
    assert np.mean(abs(column - plane[0, 0].mean()) > white / 2) > 0.4
    assert np.allclose(shown.data_to_world((0, 20)), layer.data_to_world((0, 20)))
    widget.wipe_slider.setValue(0)
    assert not np.any(shown.data[:, 19] == white)


def test_the_wipe_ends_where_its_layer_is_deleted_by_hand(viewer, widget, qtbot):
    widget.whole_box.setChecked(True)
    run(widget, qtbot)
    viewer.layers.remove(compared(viewer, widget, qtbot))
    assert not widget.compare_box.isChecked()
    assert not widget.wipe_slider.isEnabled()
    assert not widget._wipe.shows(widget.layer, widget.result())
    widget.wipe_slider.setValue(100)
    viewer.dims.set_current_step(0, 2)
    qtbot.wait(100)
    assert not widget._wipe.runner.busy
    assert compared(viewer, widget, qtbot) in viewer.layers


def test_the_wipe_reads_beside_the_window_and_only_where_the_sliders_stop(viewer, widget, qtbot, monkeypatch):
    read = []

    def slowly(self):
        yield Progress(0, 1)
        read.append((threading.current_thread(), self.where[0]))
        time.sleep(0.3)
        return (yield from at_once(self))

    widget.whole_box.setChecked(True)
    run(widget, qtbot)
    at_once = Reading.__call__
    monkeypatch.setattr(Reading, "__call__", slowly)
    compared(viewer, widget, qtbot)
    del read[:]
    for z in range(6):
        viewer.dims.set_current_step(0, z)
    qtbot.waitUntil(lambda: bool(read), timeout=60_000)
    qtbot.waitUntil(lambda: not widget._wipe.runner.busy, timeout=60_000)
    assert [where for _, where in read] == [(5,)]
    assert all(thread is not threading.main_thread() for thread, _ in read)


def test_a_blur_that_is_known_is_offered_for_the_classical_methods(widget):
    assert widget.settings().blur_px is None
    widget.known.blur_box.setValue(3.5)
    assert widget.settings().blur_px == 3.5


def test_the_blur_that_was_estimated_is_shown_and_kept(viewer, nucleus, widget, qtbot):
    viewer.dims.set_current_step(0, 3)
    run(widget, qtbot)
    kept = widget.result().metadata[METADATA]
    assert widget.blur_note.text() == f"Estimated radius: {kept['blur']}"
    assert f"{kept['blur_px'][0]:.3g} px" in kept["blur"]
    assert ("µm" in kept["blur"]) == (nucleus.units[-1] != "pixel")
    compared(viewer, widget, qtbot)
    assert widget.blur_note.text()


def test_the_slice_that_holds_nan_is_named(viewer, widget, qtbot, notes):
    data = np.random.default_rng(0).random((4, 64, 64), dtype=np.float32)
    data[2, 5, 5] = np.nan
    layer = viewer.add_image(data, name="holes")
    widget.layer_box.setCurrentIndex(widget.layer_box.findText("holes"))
    assert widget.layer is layer
    show(layer, viewer.dims, Z=2)
    run(widget, qtbot)
    assert any("Slice 2 of 'holes'" in note for note in notes)


def test_a_network_comes_with_its_warning(widget):
    widget.known.blur_box.setValue(3.5)
    for i in range(widget.model_box.count()):
        widget.model_box.setCurrentIndex(i)
        learned = DEBLURRERS[widget.model_box.currentData()].learned
        assert widget.warning.isVisibleTo(widget) == learned
        assert widget.known.blur_box.isVisibleTo(widget) != learned
        assert (SEES_BLUR in widget.note.text()) == learned
        assert widget.settings().blur_px == (None if learned else 3.5)


@pytest.mark.parametrize("name", ["deblur_unet", "wiener"])
def test_the_warning_of_a_network_goes_with_the_layer_into_the_file(widget, qtbot, tmp_path, name):
    widget.model_box.setCurrentIndex(widget.model_box.findData(name))
    run(widget, qtbot)
    layer, chosen = widget.result(), DEBLURRERS[name]
    (path,) = write_image(str(tmp_path / "out.ome.tif"), *layer.as_layer_data_tuple()[:2])
    said, kept = read_provenance(path), layer.metadata[METADATA]
    assert said["Method"] == name
    assert said.get("Warning") == kept.get("warning") == (INVENTS if chosen.learned else None)
    assert said.get("Weights sha256") == kept.get("weights_sha256") == (chosen.card.sha256 if chosen.learned else None)
    assert said.get("Blur") == kept.get("blur")
    assert ("Blur" in said) != chosen.learned


def test_without_an_image_nothing_can_be_started(viewer, nucleus, widget, qtbot):
    viewer.layers.remove(nucleus)
    qtbot.wait(10)
    assert not widget.bar.run_button.isEnabled()
    assert widget.layer is None


def test_cancelling_adds_nothing(viewer, widget, qtbot):
    widget.whole_box.setChecked(True)
    before = len(viewer.layers)
    click(qtbot, widget.bar.run_button)
    click(qtbot, widget.bar.cancel_button)
    qtbot.wait(300)
    assert len(viewer.layers) == before


def test_the_wipe_follows_a_new_result(viewer, nucleus, widget, qtbot):
    run(widget, qtbot)
    compared(viewer, widget, qtbot)
    widget.model_box.setCurrentIndex(widget.model_box.findData("wiener"))
    run(widget, qtbot)
    shown = compared(viewer, widget, qtbot)
    right = round(nucleus.data.shape[2] / 2) + 1
    assert np.array_equal(shown.data[:, right:], widget.result().data[0][:, right:])
