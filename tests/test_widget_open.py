"""Reader, writers, *Open z-stack…* and *Set calibration…*."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from napari.components import ViewerModel
from napari.layers import Layer
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFileDialog

from napari_focusstack.core.errors import InputError
from napari_focusstack.core.stack import Optics, from_array
from napari_focusstack.io.heights import csv_columns, parse_heights
from napari_focusstack.widgets import reader
from napari_focusstack.widgets.layers import METADATA, place, shown_at, stack_of
from napari_focusstack.widgets.layers import frame_of as frame
from napari_focusstack.widgets.open_form import StackForm
from napari_focusstack.widgets.open_hint import missing_lengths
from napari_focusstack.widgets.open_layer import CalibrationDialog, set_calibration
from napari_focusstack.widgets.open_stack import OpenStackDialog, add_layers
from napari_focusstack.widgets.open_values import Calibration, calibrate, guess_missing
from napari_focusstack.widgets.writer import write_image, write_labels


def pixels(*shape: int, dtype: str = "uint16") -> np.ndarray:
    return np.random.default_rng(0).integers(0, 200, shape).astype(dtype)


def layer_from(data: tuple) -> Layer:
    return Layer.create(*data)


@pytest.fixture
def bare_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "Zellen für Öl"
    folder.mkdir()
    for i in (1, 2, 10):
        tifffile.imwrite(folder / f"img{i}.tif", np.full((24, 32), i, np.uint8))
    return folder


# Values -------------------------------------------------------------------------------------------------------------


@given(
    st.lists(st.floats(-1e4, 1e4).map(lambda v: round(v, 3)), min_size=2, max_size=12),
    st.sampled_from([" ", "\n", "; ", ", "]),
)
def test_heights_are_read_however_they_are_set_off(values, separator):
    assert parse_heights(separator.join(map(str, values)), n=len(values)) == pytest.approx(values)


def test_decimal_commas_are_understood():
    assert parse_heights("0,5\n1,5\n4", n=3) == (0.5, 1.5, 4.0)


@pytest.mark.parametrize(("text", "said"), [("1 2", "2 heights"), ("1 two 3", "'two'"), ("1 nan 3", "finite")])
def test_heights_that_do_not_fit_are_refused_in_a_sentence(text, said):
    with pytest.raises(InputError, match=said):
        parse_heights(text, n=3)


def test_columns_of_a_table_with_as_many_numbers_as_slices_are_found(tmp_path):
    path = tmp_path / "stage.csv"
    path.write_text("name;z µm;n\na;0,0;1\nb;0,7;2\nc;2,1;\n", encoding="utf-8")
    assert csv_columns(path, n=3) == {"z µm": (0.0, 0.7, 2.1)}


def test_a_table_without_fitting_column_is_refused(tmp_path):
    path = tmp_path / "stage.csv"
    path.write_text("1\n2\n", encoding="utf-8")
    with pytest.raises(InputError, match="3 numbers"):
        csv_columns(path, n=3)


def test_axes_that_get_other_names_are_put_in_order():
    stack = from_array(pixels(3, 5, 8, 9), axes="TZYX")
    swapped = calibrate(stack, Calibration("ZTYX", 0.5, 0.5, 2.0))
    assert (swapped.axes, swapped.n_times, swapped.n_slices) == ("TZYX", 5, 3)
    assert np.array_equal(swapped.plane(2, t=4), stack.plane(4, t=2))


def test_one_name_for_two_axes_is_refused():
    with pytest.raises(InputError, match="z slices"):
        calibrate(from_array(pixels(3, 5, 8, 9), axes="TZYX"), Calibration("ZZYX"))


def test_the_guess_is_another_open_stack_of_the_same_size_and_says_so():
    known = from_array(pixels(3, 8, 9), name="A01", z_um=2.0, y_um=0.5, x_um=0.5)
    guess = guess_missing(from_array(pixels(4, 8, 9)), [known])
    assert (guess.pixel_um, guess.z_um) == (0.5, 2.0)
    assert "A01" in guess.z_from


def test_without_another_stack_the_guess_is_the_depth_of_field():
    stack = from_array(pixels(3, 8, 9), optics=Optics(na=0.5, wavelength_um=0.5))
    assert guess_missing(stack).z_um == pytest.approx(2.0)


def test_nothing_is_guessed_from_nothing():
    guess = guess_missing(from_array(pixels(3, 8, 9)))
    assert guess.z_um is None
    assert guess.pixel_um is None


# Reader and writers -------------------------------------------------------------------------------------------------


def test_the_reader_keeps_scale_units_and_labels(shared_data):
    (layer,) = map(layer_from, reader.read(str(shared_data / "stacks/organoid_A01.ome.tif")))
    assert tuple(layer.scale) == pytest.approx((200.58, 4.32, 4.32))
    assert layer.axis_labels == ("z", "y", "x")
    assert {str(unit) for unit in layer.units} == {"micrometer"}
    assert layer.name == "organoid_A01"


def test_a_folder_of_slices_becomes_one_layer_in_natural_order(bare_folder):
    (layer,) = map(layer_from, reader.get_reader(str(bare_folder))(str(bare_folder)))
    assert layer.data[:, 0, 0].tolist() == [1, 2, 10]
    assert "z" in layer.metadata[METADATA]["axes_note"]


def test_several_files_become_one_layer(bare_folder):
    paths = sorted(map(str, bare_folder.iterdir()))
    (layer,) = map(layer_from, reader.get_reader(paths)(paths))
    assert layer.data.shape == (3, 24, 32)


def test_what_does_not_exist_is_left_to_others(tmp_path):
    assert reader.get_reader(str(tmp_path / "none.tif")) is None


def test_each_channel_is_a_layer_with_its_name_and_a_colour_of_its_own():
    stack = from_array(pixels(2, 4, 16, 16), axes="CZYX", name="cells", channels=("DAPI", "GFP"))
    layers = [layer_from(data) for data in reader.layers_of(stack)]
    assert [layer.name for layer in layers] == ["cells DAPI", "cells GFP"]
    assert len({layer.colormap.name for layer in layers}) == 2
    assert len({layer.metadata[METADATA]["group"] for layer in layers}) == 1


def test_large_stacks_stay_lazy_and_three_slices_make_the_contrast(monkeypatch):
    from napari_focusstack.core.lazy import PlaneArray

    asked: list[int] = []

    def read(number: int) -> np.ndarray:
        asked.append(number)
        return np.full((16, 16), number, np.uint16)

    monkeypatch.setattr(reader, "EAGER_BYTES", 0)
    stack = from_array(PlaneArray(read, np.arange(50), plane_shape=(16, 16), dtype=np.uint16), axes="ZYX")
    ((data, kwargs, _),) = reader.layers_of(stack)
    assert sorted(asked) == [0, 25, 49]
    assert kwargs["contrast_limits"] == (0.0, 49.0)
    assert data[7].compute()[0, 0] == 7


@pytest.mark.parametrize("fill", [0, 7])
def test_a_constant_image_has_contrast_limits_that_napari_takes(fill):
    stack = from_array(np.full((3, 16, 16), fill, np.uint8))
    assert layer_from(reader.layers_of(stack)[0]).contrast_limits[1] > fill


def test_an_image_is_written_with_its_calibration_and_read_back(tmp_path):
    stack = from_array(pixels(3, 16, 20), name="A01", z_um=2.0, y_um=0.5, x_um=0.25)
    layer = layer_from(reader.layers_of(stack)[0])
    (path,) = write_image(str(tmp_path / "out.ome.tif"), *layer.as_layer_data_tuple()[:2])
    (again,) = map(layer_from, reader.read(path))
    assert tuple(again.scale) == pytest.approx((2.0, 0.5, 0.25))
    assert np.array_equal(again.data, layer.data)


def test_labels_of_64_bit_are_written_in_fewer(tmp_path):
    layer = layer_from((np.arange(64).reshape(8, 8).astype(np.int64), {"scale": (0.5, 0.5), "units": "um"}, "labels"))
    (path,) = write_labels(str(tmp_path / "labels.ome.tif"), *layer.as_layer_data_tuple()[:2])
    assert tifffile.imread(path).dtype == np.uint16


def test_the_source_is_never_written_over(tmp_path):
    path = tmp_path / "A01.ome.tif"
    tifffile.imwrite(path, pixels(3, 16, 20))
    before = path.read_bytes()
    layer = layer_from(reader.read(str(path))[0])
    with pytest.raises(InputError, match="source"):
        write_image(str(path), *layer.as_layer_data_tuple()[:2])
    assert path.read_bytes() == before


# Set calibration ----------------------------------------------------------------------------------------------------


@pytest.fixture
def bare() -> ViewerModel:
    viewer = ViewerModel()
    add_layers(viewer, reader.layers_of(from_array(pixels(5, 24, 32), name="A01")))
    return viewer


def test_a_layer_takes_the_lengths_and_tells_them(bare):
    layer = bare.layers[0]
    assert missing_lengths(stack_of(layer))
    set_calibration(bare, layer, stack_of(layer), Calibration("ZYX", 0.5, 0.5, 2.0))
    assert (stack_of(layer).z_um, stack_of(layer).x_um) == (2.0, 0.5)
    assert not missing_lengths(stack_of(layer))


@pytest.mark.parametrize("axes", ["ZYX", "TYX"])
def test_the_slice_that_is_shown_stays_and_the_view_is_fitted(bare, axes):
    layer = bare.layers[0]
    layer.axis_labels = tuple(axes.lower())
    bare.dims.set_point(0, 3)
    camera = getattr(bare, "scene", bare).camera
    before = camera.zoom
    set_calibration(bare, layer, stack_of(layer), Calibration("ZYX", 0.1, 0.1, 7.0))
    assert shown_at(layer, bare.dims)["Z"] == 3
    assert camera.zoom == pytest.approx(10 * before, rel=0.05)


def test_uneven_heights_stay_with_the_layer(bare):
    layer = bare.layers[0]
    heights = (1.0, 2.0, 4.0, 8.0, 16.0)
    set_calibration(bare, layer, stack_of(layer), Calibration("ZYX", 0.5, 0.5, None, heights))
    assert stack_of(layer).z_positions_um == heights


def test_time_points_can_become_slices(bare):
    layer = bare.layers[0]
    layer.axis_labels = ("t", "y", "x")
    stack = stack_of(layer)
    assert stack.n_slices == 1
    set_calibration(bare, layer, stack, Calibration("ZYX"))
    assert stack_of(layer).n_slices == 5
    assert bare.dims.axis_labels == ("z", "y", "x")


def test_results_follow_the_calibration_of_their_source(bare):
    layer = bare.layers[0]
    placed = place(np.zeros((24, 32)), "YX", like=frame(layer), provenance={"role": "fused"})
    result = bare.add_image(placed.data, **placed.kwargs, name="fused A01")
    set_calibration(bare, layer, stack_of(layer), Calibration("ZYX", 0.5, 0.5, 2.0))
    assert tuple(result.scale) == (0.5, 0.5)
    assert result.units == layer.units[1:]


def test_results_follow_a_source_that_was_renamed_and_no_other(bare):
    layer = bare.layers[0]
    placed = place(np.zeros((24, 32)), "YX", like=frame(layer), provenance={"role": "fused"})
    result = bare.add_image(placed.data, **placed.kwargs, name="fused A01")
    layer.name = "B01"
    other = bare.add_image(pixels(5, 24, 32), name="A01")
    set_calibration(bare, other, stack_of(other), Calibration("ZYX", 0.7, 0.7, 2.0))
    assert tuple(result.scale) == (1, 1)
    set_calibration(bare, layer, stack_of(layer), Calibration("ZYX", 0.5, 0.5, 2.0))
    assert tuple(result.scale) == (0.5, 0.5)


def test_extracted_slices_take_their_own_heights(bare):
    layer = bare.layers[0]
    placed = place(layer.data[2:4], "ZYX", like=frame(layer), at={"Z": 2}, provenance={"slices": [2, 3]})
    result = bare.add_image(placed.data, **placed.kwargs, name="slices 2–3 A01")
    heights = (1.0, 2.0, 4.0, 8.0, 16.0)
    set_calibration(bare, layer, stack_of(layer), Calibration("ZYX", 0.5, 0.5, None, heights))
    assert stack_of(result).z_positions_um == heights[2:4]
    assert result.translate[0] == layer.translate[0] + 2 * layer.scale[0]
    set_calibration(bare, layer, stack_of(layer), Calibration("ZYX", 0.5, 0.5, 3.0))
    assert stack_of(result).heights_um == pytest.approx([6.0, 9.0])


# Windows ------------------------------------------------------------------------------------------------------------


def click(qtbot, button) -> None:
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


@pytest.fixture
def viewer(make_napari_viewer):
    return make_napari_viewer()


def test_a_folder_is_opened_with_what_the_user_adds(viewer, qtbot, monkeypatch, bare_folder):
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", staticmethod(lambda *_, **__: str(bare_folder)))
    dialog = OpenStackDialog(viewer, viewer.window._qt_window)
    dialog.show()
    click(qtbot, dialog.folder_button)
    qtbot.waitUntil(dialog.open_button.isEnabled, timeout=60_000)
    assert "z" in dialog.form.summary.text()
    dialog.form.pixel.spin.setValue(0.5)
    dialog.form.uneven.setChecked(True)
    assert not dialog.open_button.isEnabled()
    dialog.form.heights.setPlainText("0; 1; 3")
    click(qtbot, dialog.open_button)
    qtbot.waitUntil(lambda: len(viewer.layers) == 1, timeout=60_000)
    stack = stack_of(viewer.layers[0])
    assert stack.z_positions_um == (0.0, 1.0, 3.0)
    assert stack.x_um == 0.5
    assert viewer.dims.axis_labels == ("z", "y", "x")


def test_a_file_that_is_no_image_is_told_in_the_dialog(viewer, qtbot, monkeypatch, tmp_path, notes):
    path = tmp_path / "notes.tif"
    path.write_text("not an image")
    monkeypatch.setattr(QFileDialog, "getOpenFileNames", staticmethod(lambda *_, **__: ([str(path)], "")))
    dialog = OpenStackDialog(viewer, viewer.window._qt_window)
    dialog.show()
    with qtbot.waitSignal(dialog.runner.failed, timeout=60_000):
        click(qtbot, dialog.files_button)
    assert "notes.tif" in dialog.message.text()
    assert not dialog.open_button.isEnabled()
    dialog.reject()


def test_cancelling_the_dialog_opens_nothing(viewer, qtbot):
    dialog = OpenStackDialog(viewer, viewer.window._qt_window)
    dialog.show()
    dialog.reject()
    assert not viewer.layers


def test_an_axis_that_takes_a_name_gives_its_own_to_the_other(viewer, qtbot):
    add_layers(viewer, reader.layers_of(from_array(pixels(2, 3, 24, 32), axes="TZYX", name="A01")))
    dialog = CalibrationDialog(viewer, viewer.layers[0], viewer.window._qt_window)
    (_, times), (_, slices) = dialog.form._axis_boxes
    times.setCurrentIndex(times.findData("Z"))
    assert slices.currentData() == "T"
    click(qtbot, dialog.ok_button)
    assert viewer.layers[0].axis_labels == ("z", "t", "y", "x")


@pytest.fixture
def form(qtbot):
    made = StackForm()
    qtbot.addWidget(made)
    return made


def test_what_the_file_said_passes_through_the_form_unrounded(form):
    heights = (0.1 + 0.2, 1 / 3, 1e5 + 1 / 7, 2e5, 3e5)
    for lengths in ({"z_um": 0.1083333333}, {"z_positions_um": heights}):
        stack = from_array(
            pixels(2, 5, 8, 9), axes="CZYX", x_um=0.00004, y_um=0.108333331, channels=("a, b", "c"), **lengths
        )
        form.fill(stack)
        assert form.calibration() == Calibration.of(stack)


def test_a_length_below_a_nanometre_is_shown(form):
    form.fill(from_array(pixels(5, 8, 9), x_um=0.00004, y_um=0.00004))
    assert form.pixel.spin.text() == "0.00004 µm"


def test_lengths_are_shown_without_idle_zeros(form):
    form.fill(from_array(pixels(5, 8, 9), x_um=0.5, y_um=0.5, z_um=10))
    assert (form.pixel.spin.text(), form.z_step.spin.text()) == ("0.5 µm", "10 µm")


def test_a_length_that_is_edited_counts_as_it_is_written(form):
    form.fill(from_array(pixels(5, 8, 9), x_um=1 / 3, y_um=1 / 3))
    form.pixel.spin.setValue(0.5)
    calibration = form.calibration()
    assert (calibration.x_um, calibration.y_um) == (0.5, 0.5)


def test_a_pixel_height_that_is_known_alone_is_kept(form):
    stack = from_array(pixels(5, 8, 9), y_um=0.25)
    form.fill(stack)
    assert (form.calibration().x_um, form.calibration().y_um) == (None, 0.25)
