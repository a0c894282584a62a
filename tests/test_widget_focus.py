"""The Focus widget: opening, scoring, the curve, what is laid over the image, and what it refuses."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtGui import QPainter, QPixmap

from focus_bench import BEST, CALIBRATED, Bench, held, on_a_dark_field, stack
from napari_focusstack.core.scorers import SCORERS
from napari_focusstack.widgets.curve import CurvePlot, CurveView
from napari_focusstack.widgets.layers import shown_at


def test_the_layer_is_chosen_when_the_dock_opens(bench: Bench) -> None:
    bench.viewer.add_image(np.zeros((8, 9)), name="flat")
    layer = bench.viewer.add_image(stack(), name="A01")
    bench.viewer.add_shapes()
    focus = bench.open()
    assert focus.layer is layer
    assert focus.form.layer_box.currentText() == "A01"
    assert focus.form.channel_box.isHidden()
    assert focus.form.all_box.isHidden()


def test_a_stack_opened_later_is_chosen(bench: Bench) -> None:
    focus = bench.open()
    assert focus.layer is None
    assert "Open a stack" in bench.verdict
    layer = bench.viewer.add_image(stack())
    assert focus.layer is layer


def test_a_score_ends_in_a_curve_with_a_ring_and_a_sentence(bench: Bench) -> None:
    bench.viewer.add_image(stack(), name="A01", **CALIBRATED)
    focus = bench.open()
    bench.score()
    view = focus.form.plot.view
    assert view.best == BEST
    assert view.good is not None
    assert np.isfinite(view.values).all()
    assert view.heights_um == pytest.approx(np.arange(7) * 2)
    assert f"Best slice {BEST} (z 6.0 µm), certain" in bench.verdict


def score_the_first(bench: Bench, slices: int, go_on: threading.Event) -> None:
    """Begin to score, until the curve shows so many slices; the next one waits for `go_on`."""
    go_on.clear()
    plot = bench.focus.form.plot
    bench.focus.form.job_bar.run_button.click()
    bench.qtbot.waitUntil(lambda: np.isfinite(plot.view.values).sum() == slices, timeout=60_000)


def test_the_curve_grows_while_slices_are_scored(bench: Bench, go_on: threading.Event) -> None:
    bench.viewer.add_image(held(stack(n=9), go_on, after=4), contrast_limits=(0, 255))
    focus = bench.open()
    score_the_first(bench, 4, go_on)
    assert focus.form.plot.view.best is None
    assert "of the whole image" in bench.verdict
    go_on.set()
    bench.idle()
    assert focus.form.plot.view.best is not None


def test_it_is_said_when_the_curve_goes_over_to_the_specimen(bench: Bench, go_on: threading.Event) -> None:
    data = np.zeros((7, 256, 256), np.uint16) + 1000
    data[:, 64:192, 64:192] += stack()
    bench.viewer.add_image(held(data, go_on, after=4), contrast_limits=(0, 65535))
    focus = bench.open()
    score_the_first(bench, 4, go_on)
    assert "4 of 7 slices are scored" in bench.verdict
    assert "Until all are, the curve is of the whole image." in bench.verdict
    go_on.set()
    bench.idle()
    assert "of the specimen alone" in bench.verdict
    focus.form.basis.button(1).click()
    bench.idle()
    assert "specimen" not in bench.verdict
    score_the_first(bench, 4, go_on)
    assert "4 of 7 slices are scored" in bench.verdict
    assert "Until all are" not in bench.verdict
    go_on.set()
    bench.idle()


def test_the_line_follows_the_slider_and_a_click_moves_the_slider(bench: Bench) -> None:
    layer = bench.viewer.add_image(stack(), **CALIBRATED)
    focus = bench.open()
    bench.viewer.dims.set_point(0, 4.0)
    assert focus.form.plot.shown_slice == 2
    focus.form.plot.slice_asked.emit(5)
    assert shown_at(layer, bench.viewer.dims)["Z"] == 5
    assert focus.form.plot.shown_slice == 5


def test_the_best_slice_is_shown_once_it_is_known(bench: Bench) -> None:
    layer = bench.viewer.add_image(stack(), **CALIBRATED)
    bench.open()
    bench.viewer.dims.set_point(0, 12.0)
    bench.score()
    assert shown_at(layer, bench.viewer.dims)["Z"] == BEST


@pytest.mark.parametrize("back", [False, True])
def test_who_looks_for_himself_while_slices_are_scored_stays_where_he_is(
    bench: Bench, go_on: threading.Event, back: bool
) -> None:
    layer = bench.viewer.add_image(held(stack(n=20, best=5), go_on, after=12), contrast_limits=(0, 255))
    focus = bench.open()
    score_the_first(bench, 12, go_on)
    begun = shown_at(layer, bench.viewer.dims)["Z"]
    bench.viewer.dims.set_point(0, 2)
    if back:
        bench.viewer.dims.set_point(0, begun)
    go_on.set()
    bench.idle()
    assert focus.form.plot.view.best == 5 != begun
    assert shown_at(layer, bench.viewer.dims)["Z"] == (begun if back else 2)


def test_scoring_moves_no_other_stack(bench: Bench, go_on: threading.Event) -> None:
    first = bench.viewer.add_image(held(stack(n=20, best=5), go_on, after=12), contrast_limits=(0, 255))
    second = bench.viewer.add_image(stack())
    focus = bench.open()
    focus.choose_layer(first)
    score_the_first(bench, 12, go_on)
    focus.choose_layer(second)
    at = bench.viewer.dims.current_step
    go_on.set()
    bench.idle()
    assert bench.viewer.dims.current_step == at


def test_curves_of_other_scorers_stay_for_comparison(bench: Bench) -> None:
    bench.viewer.add_image(stack())
    focus = bench.open()
    bench.score("tenengrad")
    bench.score("variance_of_laplacian")
    assert list(focus.form.plot.view.earlier) == ["Tenengrad"]
    focus.form.scorer_box.choose("tenengrad")
    assert list(focus.form.plot.view.earlier) == ["Variance of Laplacian"]
    assert focus.form.plot.view.best == BEST


def test_the_map_of_a_measure_has_a_legend_in_its_units_and_colours(bench: Bench) -> None:
    bench.viewer.add_image(stack(), name="A01", **CALIBRATED)
    form = bench.open().form
    bench.score("tenengrad")
    assert form.legend.isHidden()
    form.map_box.click()
    layer = bench.focus.overlays.map
    low, high = layer.contrast_limits
    assert form.legend.texts() == (f"{low:.3g} blurred or plain", SCORERS["tenengrad"].units, f"{high:.3g} sharp")
    form.legend.resize(330, form.legend.sizeHint().height())
    for colormap in ("viridis", "magma"):
        layer.colormap = colormap
        image = form.legend.grab().toImage()
        for x, at in ((1, 0.0), (image.width() - 2, 1.0)):
            wanted = 255 * layer.colormap.map([at])[0][:3]
            assert np.abs(np.array(image.pixelColor(x, 5).getRgb()[:3]) - wanted).max() < 12
    layer.contrast_limits = (1, 2)
    assert form.legend.texts()[::2] == ("1 blurred or plain", "2 sharp")
    form.map_box.click()
    assert form.legend.isHidden()


def test_no_legend_lies_over_the_curves(bench: Bench, qtbot: Any) -> None:
    bench.viewer.add_image(stack())
    form = bench.open().form
    bench.score("tenengrad")
    assert form.curve_legend.isHidden()
    for scorer in ("variance_of_laplacian", "brenner", "vollath_f4"):
        bench.score(scorer)
    legend = form.curve_legend
    assert legend.names == ("Tenengrad", "Variance of Laplacian", "Brenner gradient")
    assert not form.plot.isAncestorOf(legend)
    bench.focus.show()
    qtbot.waitUntil(lambda: legend.y() >= form.plot.geometry().bottom(), timeout=60_000)
    assert len({(pen.color().name(), pen.style()) for _, pen in legend._entries}) == 3
    legend.resize(150, 10)
    assert len({place.y() for place in legend.places()}) == 3
    assert legend.height() >= 3 * legend.fontMetrics().height()
    legend.resize(600, 10)
    assert len({place.y() for place in legend.places()}) == 1


@pytest.mark.parametrize(
    ("n", "step", "ends"), [(10, 5.0, ("0", "45")), (11, 200.55, ("0", "2006")), (8, 0.3, ("0.0", "2.1"))]
)
def test_the_first_and_the_last_height_are_told(qtbot: Any, n: int, step: float, ends: tuple[str, str]) -> None:
    plot = CurvePlot()
    qtbot.addWidget(plot)
    plot.set_view(CurveView(n, np.arange(n, dtype=float), "", np.arange(n) * step))
    axis = plot._heights
    (_, major), (_, minor) = axis.tickValues(-0.5, n - 0.5, 200.0)
    assert sorted(major + minor) == list(range(n))
    told = axis.tickStrings(major, 1.0, 1.0)
    assert (told[0], told[-1]) == ends
    assert len(told) <= 5
    # pyqtgraph leaves out what reaches beyond the axis.
    plot.resize(250, 200)
    plot.show()
    surface = QPixmap(1, 1)  # a painter does not keep it alive
    painter = QPainter(surface)
    shown = axis.generateDrawSpecs(painter)[2]
    painter.end()
    assert {text for _, _, text in shown} >= set(ends)
    assert max(rect.right() for rect, _, _ in shown) + axis.sceneBoundingRect().left() <= plot.width()


def test_a_slice_without_a_value_has_no_ring(qtbot: Any) -> None:
    plot = CurvePlot()
    qtbot.addWidget(plot)
    plot.set_view(CurveView(3, np.array([1.0, np.nan, 2.0]), best=1))
    assert not plot._ring.isVisible()


def test_the_outline_and_the_focus_map_lie_on_the_image(bench: Bench, qtbot: Any) -> None:
    data = np.zeros((7, 256, 256), np.uint16) + 1000
    data[:, 64:192, 64:192] += stack()
    layer = bench.viewer.add_image(data, name="A01", **CALIBRATED)
    focus = bench.open()
    bench.score()
    focus.form.map_box.click()
    shown = focus.overlays.map
    assert shown is not None
    assert shown.name == "focus map A01 (tenengrad)"
    assert shown.data.shape[0] == 7
    for corner in (0, 1):
        edge = np.array([-0.5 if corner == 0 else n - 0.5 for n in shown.data.shape])
        own = np.array([-0.5 if corner == 0 else n - 0.5 for n in layer.data.shape])
        assert shown.data_to_world(edge) == pytest.approx(layer.data_to_world(own))
    outline = focus.overlays.outline
    assert outline is not None
    rim = np.array([outline.data_to_world(index) for index in np.argwhere(outline.data)])
    assert np.abs(rim.min(axis=0) - 32).max() < 8
    assert np.abs(rim.max(axis=0) - 96).max() < 8
    focus.form.map_box.click()
    focus.form.outline_box.click()
    qtbot.waitUntil(lambda: len(bench.viewer.layers) == 1, timeout=60_000)


def test_the_focus_map_is_transparent_beside_the_specimen_unless_that_counts(bench: Bench, qtbot: Any) -> None:
    bench.viewer.add_image(on_a_dark_field(BEST)[0], name="A01")
    focus = bench.open()
    bench.score()
    focus.form.map_box.click()
    report = focus.scored.report
    shown = np.isfinite(focus.overlays.map.data)
    assert shown[:, 3:5, 3:5].all()
    assert not shown[:, 0].any()
    assert (shown == (report.specimen_weights >= 0.1)).all()
    assert (focus.overlays.map.data[shown] == report.maps[shown]).all()
    status = focus.overlays.map.get_status((0, 0, 0))["value"]
    assert status == f"slice 0, patch (0, 0): {report.maps[0, 0, 0]:.3g}, does not count"
    focus.form.basis.button(1).click()
    bench.idle()
    assert np.isfinite(focus.overlays.map.data).all()
    focus.form.basis.button(2).click()
    bench.viewer.layers["region A01"].add_rectangles([[0, 0], [0, 31], [31, 31], [31, 0]])
    qtbot.waitUntil(lambda: bool(focus.scored.basis.region), timeout=60_000)
    bench.idle()
    drawn = np.isfinite(focus.overlays.map.data)
    assert drawn[:, 0, 0].all()
    assert drawn.sum() == shown.sum() + len(shown)


def test_the_status_bar_tells_the_patch_under_the_mouse(bench: Bench) -> None:
    bench.viewer.add_image(stack(), **CALIBRATED)
    focus = bench.open()
    bench.score()
    focus.form.map_box.click()
    shown = focus.overlays.map
    assert shown is not None
    assert bench.viewer.layers.selection.active is shown
    status = shown.get_status((6.0, 40.0, 8.0), world=True)
    value = focus.scored.report.maps[3, 2, 0]
    assert status["value"].startswith(f"slice 3, patch (2, 0): {value:.3g}")


def test_deleting_an_overlay_by_hand_unticks_it(bench: Bench) -> None:
    bench.viewer.add_image(stack())
    focus = bench.open()
    bench.score()
    focus.form.map_box.click()
    bench.viewer.layers.remove(focus.overlays.map)
    assert not focus.form.map_box.isChecked()
    assert focus.overlays.map is None


def test_an_unlabelled_axis_can_be_named_z(bench: Bench) -> None:
    data = np.moveaxis(np.stack([stack(), stack()]), 0, 1)  # z first, then time
    layer = bench.viewer.add_image(data)
    focus = bench.open()
    assert not focus.form.z_box.isHidden()
    focus.form.z_box.setCurrentIndex(0)
    assert tuple(layer.axis_labels) == ("z", "t", "y", "x")
    bench.score()
    assert focus.form.plot.view.best == BEST


def test_calibrating_a_scored_layer_keeps_its_scores(bench: Bench) -> None:
    layer = bench.viewer.add_image(stack())
    focus = bench.open()
    bench.score()
    layer.units = ("um",) * 3
    layer.scale = (10, 1, 1)
    bench.idle()
    assert focus.form.plot.view.heights_um == pytest.approx(np.arange(7) * 10)
    assert "z 30 µm" in bench.verdict


@pytest.mark.parametrize(
    ("data", "part"),
    [(np.zeros((64, 64), np.uint8), "two slices or more"), (np.full((3, 64, 64), np.nan), "NaN")],
)
def test_input_that_can_not_be_scored_is_refused_in_a_sentence(
    bench: Bench, notes: list[str], data: np.ndarray, part: str
) -> None:
    bench.viewer.add_image(data, contrast_limits=(0, 1))
    bench.open()
    bench.score()
    assert len(notes) == 1
    assert part in notes[0]
    assert part in bench.verdict


def test_a_constant_stack_has_no_best_slice(bench: Bench) -> None:
    bench.viewer.add_image(np.full((4, 64, 64), 7, np.uint8))
    focus = bench.open()
    bench.score()
    assert "No slice is in focus" in bench.verdict
    assert not focus.form.picks.accept_button.isEnabled()


def test_a_layer_that_is_deleted_while_it_is_scored_stops_the_job(
    bench: Bench, go_on: threading.Event, notes: list[str]
) -> None:
    bench.viewer.add_image(held(stack(n=9), go_on, after=4), name="A01", contrast_limits=(0, 255))
    focus = bench.open()
    score_the_first(bench, 4, go_on)
    bench.viewer.layers.remove("A01")
    assert bench.is_idle()
    assert notes == ["'A01' was deleted while it was scored: scoring has stopped."]
    assert focus.layer is None


def test_cancel_in_the_middle_says_how_far_it_came(bench: Bench, go_on: threading.Event) -> None:
    bench.viewer.add_image(held(stack(n=9), go_on, after=4), contrast_limits=(0, 255))
    focus = bench.open()
    score_the_first(bench, 4, go_on)
    focus.form.job_bar.cancel_button.click()
    assert bench.is_idle()
    assert "Cancelled after 4 of 9 slices" in bench.verdict
    assert focus.form.job_bar.runner.busy is False


def test_patches_have_the_size_that_is_chosen(bench: Bench) -> None:
    bench.viewer.add_image(stack())
    focus = bench.open()
    bench.score()
    focus.form.map_box.click()
    assert focus.overlays.map.data.shape == (7, 4, 4)
    focus.form.patch_box.setValue(16)
    bench.score()
    assert focus.overlays.map.data.shape == (7, 8, 8)


def test_a_searched_scorer_is_found_by_typing(bench: Bench) -> None:
    box = bench.open().form.scorer_box
    box.lineEdit().setText("vollath f4")
    box.lineEdit().editingFinished.emit()
    assert box.scorer == "vollath_f4"
    box.lineEdit().setText("nonsense")
    box.lineEdit().editingFinished.emit()
    assert box.scorer == "vollath_f4"
    assert box.currentText() == "Vollath F4"


def test_every_scorer_is_explained(bench: Bench) -> None:
    box = bench.open().form.scorer_box
    for i in range(box.count()):
        if box.itemData(i, Qt.ItemDataRole.UserRole):
            assert box.itemData(i, Qt.ItemDataRole.ToolTipRole)
