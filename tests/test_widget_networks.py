"""Networks in the Focus widget: their group, their maps and legends, and the form for the microscope."""

from __future__ import annotations

import dataclasses
import threading
from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import QSize, QTimer
from qtpy.QtWidgets import QApplication

pytest.importorskip("torch")

from focus_bench import CALIBRATED, Bench, stack
from napari_focusstack.core.decision import Decision
from napari_focusstack.core.learned.classes import CLASS_NAMES, GUESS, ClassScorer
from napari_focusstack.core.report import FocusReport, Grid
from napari_focusstack.core.scorers import SCORERS
from napari_focusstack.core.stack import Optics
from napari_focusstack.widgets import map_views
from napari_focusstack.widgets.focus_jobs import better_told
from napari_focusstack.widgets.layers import METADATA, stack_of
from napari_focusstack.widgets.map_views import patch_text, view_of
from napari_focusstack.widgets.scorer_combo import NAME

pytestmark = pytest.mark.usefixtures("networks")
KNOWN = {METADATA: {"optics": Optics(na=0.75, wavelength_um=0.52)}}


def half_empty() -> np.ndarray:
    data = np.full((7, 128, 448), 1000, np.uint16)
    data[:, :, :128] += stack()
    return data + np.random.default_rng(0).integers(0, 9, data.shape, dtype=np.uint16)


def test_networks_stand_in_a_group_of_their_own(bench: Bench) -> None:
    box = bench.open().form.scorer_box
    items = [(box.itemText(i), box.itemData(i, NAME)) for i in range(box.count())]
    heading = items.index(("Networks", None))
    assert {name for _, name in items[heading + 1 :]} >= {"mmdf", "ldsenet"}


def test_the_class_map_has_ten_colours_and_a_legend(bench: Bench) -> None:
    bench.viewer.add_image(half_empty(), name="A01", **CALIBRATED)
    focus = bench.open()
    bench.score("mmdf")
    focus.form.map_box.click()
    layer = focus.overlays.map
    assert layer is not None
    assert layer.name == "classes A01 (mmdf)"
    assert tuple(layer.contrast_limits) == (-0.5, 9.5)
    colours = layer.colormap.map((np.arange(10) + 0.5) / 10)
    assert len(np.unique(colours.round(3), axis=0)) == 10
    assert (colours[:, 3] == 1).all()
    known = np.isfinite(layer.data)
    assert np.array_equal(layer.data[known], focus.scored.report.layers["class"][known])
    assert focus.form.legend.isVisibleTo(focus.form.legend.parentWidget())
    assert focus.form.legend.texts()[0] == "in focus"
    assert "A01" in bench.viewer.layers


def test_a_patch_that_is_judged_like_noise_has_no_answer() -> None:
    certainty = np.array([[[0.0, GUESS / 2, 0.4]]], np.float32)
    layers = {"class": np.array([[[9, 1, 1]]], np.uint8), "certainty": certainty, "in_focus": certainty}
    ones, grid = np.ones((1, 1, 3), np.float32), Grid((1, 3), (32.0, 32.0))
    decision = Decision(None, None, None, 0.0, None, (), "")
    report = FocusReport("mmdf", "", np.ones(1), ones, ones[0], grid, decision, layers=layers)
    assert np.isfinite(view_of(report).data).tolist() == [[[False, False, True]]]
    assert patch_text(report, 0, 0, 1).endswith("nothing to judge by")
    assert "certainty 0.40" in patch_text(report, 0, 0, 2)


@pytest.mark.parametrize("kind", ["class", "score"])
def test_maps_hold_values_and_nothing_where_a_patch_holds_little_specimen(kind: str) -> None:
    share = np.array([[0.0, 0.2, 0.9]], np.float32)
    certainty = np.full((1, 1, 3), 0.4, np.float32)
    classes = {"class": np.array([[[7, 7, 7]]], np.uint8), "certainty": certainty, "in_focus": certainty}
    layers = classes if kind == "class" else {"cam": certainty}
    ones, grid = np.ones((1, 1, 3), np.float32), Grid((1, 3), (32.0, 32.0))
    decision = Decision(None, None, None, 0.0, None, (), "")
    report = FocusReport(
        "mmdf", "", np.ones(1), 65 * ones, ones[0], grid, decision, layers=layers, specimen_weights=share
    )
    value = 7 if kind == "class" else 65
    assert (view_of(report).data == value).all()  # no specimen was found: all of it is looked at
    report = dataclasses.replace(report, specimen=np.ones((32, 96), bool))
    view = view_of(report)
    assert view.kind == kind
    np.testing.assert_array_equal(view.data, [[[np.nan, value, value]]])
    assert len({patch_text(report, 0, 0, x).partition(": ")[2] for x in range(3)}) == 1


def test_the_map_that_takes_the_place_of_a_selected_one_is_selected(bench: Bench, qtbot: Any) -> None:
    layer = bench.viewer.add_image(half_empty(), name="A01", metadata=KNOWN, **CALIBRATED)
    focus = bench.open()
    bench.score("tenengrad")
    focus.form.map_box.click()
    assert bench.viewer.layers.selection.active is focus.overlays.map
    bench.score("mmdf")
    assert bench.viewer.layers.selection.active is focus.overlays.map
    bench.viewer.layers.selection.active = layer
    bench.score("ldsenet")
    assert bench.viewer.layers.selection.active is layer


def test_the_hover_text_tells_class_and_certainty(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(map_views, "GUESS", 1e-6)  # a network that was trained for seconds is sure of nothing
    bench.viewer.add_image(half_empty(), name="A01", **CALIBRATED)
    focus = bench.open()
    bench.score("mmdf")
    focus.form.map_box.click()
    layer = focus.overlays.map
    assert layer is not None
    said = layer.get_status(layer.data_to_world((4, 1, 2)), world=True)["coordinates"]
    assert said.startswith("slice 4, patch (1, 2): ")
    assert any(name in said for name in CLASS_NAMES)
    assert "certainty 0." in said
    empty = layer.get_status(layer.data_to_world((4, 1, layer.data.shape[2] - 1)), world=True)["coordinates"]
    assert empty.endswith("nothing to judge by")


def test_the_defocus_map_is_in_um_and_white_at_focus(bench: Bench) -> None:
    bench.viewer.add_image(half_empty(), name="A01", metadata=KNOWN, **CALIBRATED)
    focus = bench.open()
    bench.score("ldsenet")
    focus.form.map_box.click()
    layer = focus.overlays.map
    assert layer is not None
    assert layer.name == "defocus µm A01 (ldsenet)"
    low, high = layer.contrast_limits
    assert low == pytest.approx(-high)
    np.testing.assert_allclose(layer.colormap.map(0.5)[..., :3], 0xF7 / 255, atol=0.02)
    assert np.isnan(layer.data[:, :, -1]).all()
    assert focus.form.legend.texts()[1] == "in focus"
    said = layer.get_status(layer.data_to_world((0, 0, 0)), world=True)["coordinates"]
    assert "µm, sign" in said
    assert "µm from focus" in bench.verdict


def test_a_map_changes_its_kind_with_the_scorer(bench: Bench, qtbot: Any) -> None:
    bench.viewer.add_image(half_empty(), name="A01", metadata=KNOWN, **CALIBRATED)
    focus = bench.open()
    focus.form.map_box.click()
    for scorer, kind in (("tenengrad", "value"), ("mmdf", "class"), ("ldsenet", "defocus"), ("tenengrad", "value")):
        bench.score(scorer)
        assert focus.overlays.map is not None
        assert focus.overlays.map.kind == kind
        assert not focus.form.legend.isHidden()
    qtbot.waitUntil(lambda: sum("(" in layer.name for layer in bench.viewer.layers) == 1, timeout=60_000)


def test_the_legend_draws_itself(bench: Bench) -> None:
    bench.viewer.add_image(half_empty(), name="A01", metadata=KNOWN, **CALIBRATED)
    focus = bench.open()
    focus.form.map_box.click()
    for scorer in ("mmdf", "ldsenet"):
        bench.score(scorer)
        legend = focus.form.legend
        legend.resize(300, legend.sizeHint().height())
        image = legend.grab().toImage()
        colours = {image.pixelColor(x, 3).name() for x in range(5, 295, 10)}
        assert len(colours) >= 9


def test_missing_optics_are_asked_for_and_remembered(bench: Bench, notes: list[str]) -> None:
    layer = bench.viewer.add_image(half_empty(), name="A01")
    focus = bench.open()
    assert focus.optics.isHidden()
    focus.form.scorer_box.choose("ldsenet")
    form = focus.optics
    assert not form.isHidden()
    assert "numerical aperture, wavelength and pixel size" in form.label.text()
    assert not form.button.isEnabled()
    assert not focus.form.job_bar.run_button.isEnabled()
    assert "--" not in bench.verdict
    assert "numerical aperture, wavelength and pixel size above" in bench.verdict
    form.na.setValue(0.75)
    form.wavelength_nm.setValue(520)
    form.pixel_um.setValue(0.325)
    assert form.button.isEnabled()
    form.button.click()
    known = stack_of(layer)
    assert (known.optics.na, known.optics.wavelength_um) == (0.75, 0.52)
    assert known.x_um == pytest.approx(0.325)
    bench.score()
    assert focus.scored is not None
    assert "defocus_um" in focus.scored.report.extras


def test_every_digit_of_the_optics_can_be_read(bench: Bench) -> None:
    bench.viewer.add_image(stack(), name="A01", **CALIBRATED)
    focus = bench.open()
    focus.form.scorer_box.choose("ldsenet")
    form = focus.optics
    for box, value, text in (
        (form.na, 0.755, "0.755"),
        (form.wavelength_nm, 1064, "1064 nm"),
        (form.pixel_um, 0.1083, "0.1083 µm"),
    ):
        box.setValue(value)
        assert box.text() == text
    focus.resize(focus.minimumSizeHint().expandedTo(QSize(400, 800)))
    focus.show()
    QApplication.processEvents()
    for box in (form.na, form.wavelength_nm, form.pixel_um):
        line = box.lineEdit()
        room = line.contentsRect().width() - 4  # the line edit's own margins
        assert box.fontMetrics().horizontalAdvance(box.text()) <= room, box.text()
    form.na.setValue(0.75)
    assert form.na.text() == "0.75"


def test_what_is_known_of_the_optics_is_not_rounded_to_the_fields(bench: Bench) -> None:
    optics = Optics(na=0.75, wavelength_um=0.52468)
    calibrated = {**CALIBRATED, "scale": (1.0, 0.10833, 0.10835)}
    layer = bench.viewer.add_image(stack(), name="A01", metadata={METADATA: {"optics": optics}}, **calibrated)
    focus = bench.open()
    focus.form.scorer_box.choose("ldsenet")
    focus.optics.na.setValue(0.8)
    focus.optics.button.click()
    known = stack_of(layer)
    assert (known.optics.na, known.optics.wavelength_um) == (0.8, 0.52468)
    assert (known.y_um, known.x_um) == pytest.approx((0.10833, 0.10835), abs=1e-9)
    focus.optics.pixel_um.setValue(0.2)
    focus.optics.button.click()
    assert (stack_of(layer).y_um, stack_of(layer).x_um) == pytest.approx((0.2, 0.2))


def test_impossible_optics_are_not_taken(bench: Bench) -> None:
    bench.viewer.add_image(stack(), name="A01", **CALIBRATED)
    focus = bench.open()
    focus.form.scorer_box.choose("ldsenet")
    focus.optics.na.setValue(1.6)
    focus.optics.wavelength_nm.setValue(520)
    assert not focus.optics.button.isEnabled()
    assert "below the index" in focus.optics.button.toolTip()


def test_another_microscope_voids_what_rests_on_it_but_no_measure(bench: Bench) -> None:
    bench.viewer.add_image(stack(), name="A01", metadata=KNOWN, **CALIBRATED)
    focus = bench.open()
    for scorer in ("tenengrad", "mmdf", "ldsenet"):
        bench.score(scorer)
    focus.optics.na.setValue(0.5)
    focus.optics.button.click()
    assert focus.scored is None
    focus.form.scorer_box.choose("mmdf")
    assert (focus.scored is None) == better_told("mmdf")
    assert better_told("hhnet")
    focus.form.scorer_box.choose("tenengrad")
    assert focus.scored is not None


def test_a_microscope_that_is_set_while_a_network_scores_stops_it(bench: Bench, notes: list[str]) -> None:
    """It was told another one, so its answer would be wrong from the start; a measure goes on."""
    bench.viewer.add_image(stack(n=40, size=512), name="A01", metadata=KNOWN, **CALIBRATED)
    focus = bench.open()
    focus.form.scorer_box.choose("mmdf")
    focus.form.job_bar.run_button.click()
    focus.optics.na.setValue(0.5)
    focus.optics.button.click()
    assert not focus.form.job_bar.runner.busy
    assert focus.scored is None
    assert "was set while it was scored: score it again" in notes[-1]


def test_a_rule_that_goes_by_the_sampling_asks_for_it(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.viewer.add_image(stack(), name="A01", **CALIBRATED)
    focus = bench.open()
    for knows in (True, False):
        monkeypatch.setattr(ClassScorer, "better_told", knows)
        focus.form.scorer_box.choose("mmdf")
        assert focus.optics.isHidden() != knows
        assert focus.form.job_bar.run_button.isEnabled()
        focus.form.scorer_box.choose("tenengrad")


def test_a_single_image_is_judged_by_a_network(bench: Bench) -> None:
    layer = bench.viewer.add_image(stack()[3], name="one")
    focus = bench.open()
    assert focus.layer is layer
    bench.score("mmdf")
    assert "This image is" in bench.verdict
    focus.form.map_box.click()
    assert focus.overlays.map is not None
    assert focus.overlays.map.ndim == 2
    said = focus.overlays.map.get_status((8.0, 8.0), world=True)["coordinates"]
    assert said.startswith("slice 0, patch")


@pytest.mark.parametrize("name", ["mmdf", "gmanet"])
def test_networks_compute_beside_the_main_thread_and_cancel_answers_at_once(
    bench: Bench, qtbot: Any, monkeypatch: pytest.MonkeyPatch, go_on: threading.Event, name: str
) -> None:
    threads = set()
    scorer = SCORERS[name]
    real = type(scorer).score_plane

    def noted(self: Any, plane: Any, *, context: Any) -> Any:
        found = real(self, plane, context=context)
        threads.add(threading.current_thread())
        assert go_on.wait(60)
        return found

    monkeypatch.setattr(type(scorer), "score_plane", noted)
    bench.viewer.add_image(stack(), name="A01", **CALIBRATED)
    focus = bench.open()
    focus.form.scorer_box.choose(name)
    go_on.clear()
    focus.form.job_bar.run_button.click()
    qtbot.waitUntil(lambda: bool(threads), timeout=60_000)
    focus.form.job_bar.cancel_button.click()
    assert bench.is_idle()  # though the network is still at its first slice
    assert threading.main_thread() not in threads
    assert "Cancelled" in bench.verdict


def test_the_curve_of_a_network_fills_slice_by_slice(bench: Bench, qtbot: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fifth slice waits until the four before it are seen in the plot."""
    go_on, seen = threading.Event(), []
    real = type(SCORERS["gmanet"]).score_plane

    def held(self: Any, plane: Any, *, context: Any) -> Any:
        seen.append(plane)
        if len(seen) == 5:
            assert go_on.wait(60)
        return real(self, plane, context=context)

    monkeypatch.setattr(type(SCORERS["gmanet"]), "score_plane", held)
    bench.viewer.add_image(stack(n=9, best=2), name="A01", **CALIBRATED)
    focus = bench.open()
    focus.form.scorer_box.choose("gmanet")
    focus.form.job_bar.run_button.click()
    try:
        qtbot.waitUntil(lambda: np.isfinite(focus.form.plot.view.values).sum() == 4, timeout=60_000)
        view = focus.form.plot.view
    finally:
        go_on.set()
    assert np.isfinite(view.values[:4]).all()
    assert view.best is None
    bench.idle()
    assert np.isfinite(focus.form.plot.view.values).all()


def test_the_preset_is_told_below_the_curve(bench: Bench) -> None:
    bench.viewer.add_image(stack(), name="A01", **CALIBRATED)
    bench.open()
    bench.score("gmanet")
    assert "1024×1536 px, φ 32" in bench.verdict or "768×1152 px, φ 8" in bench.verdict


def test_the_window_answers_while_a_network_works(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    beats: list[None] = []
    real = type(SCORERS["mmdf"]).score_plane

    def again_and_again(self: Any, plane: Any, *, context: Any) -> Any:
        for _ in range(100):  # long enough for a few beats, whatever the machine
            found = real(self, plane, context=context)
            if len(beats) > 5:
                break
        return found

    monkeypatch.setattr(type(SCORERS["mmdf"]), "score_plane", again_and_again)
    bench.viewer.add_image(stack(size=512), name="A01", **CALIBRATED)
    focus = bench.open()
    timer = QTimer()
    timer.setInterval(10)
    timer.timeout.connect(lambda: beats.append(None))
    timer.start()
    bench.score("mmdf")
    timer.stop()
    assert focus.scored is not None
    assert len(beats) > 5


def cornered() -> np.ndarray:
    """Texture in the upper left corner alone."""
    data = np.full((7, 128, 256), 1000, np.uint16)
    data[:, :64, :64] += stack(size=64)
    return data + np.random.default_rng(0).integers(0, 9, data.shape, dtype=np.uint16)


def test_scores_and_attention_lie_exactly_on_the_image(bench: Bench) -> None:
    image = bench.viewer.add_image(cornered(), name="A01", translate=(0, 10, 20), **CALIBRATED)
    focus = bench.open()
    bench.score("gmanet")
    focus.form.map_box.click()
    assert focus.form.attention_box.isVisibleTo(focus.form)
    focus.form.attention_box.click()
    scores, attention = focus.overlays.map, focus.overlays.attention
    assert scores is not None
    assert attention is not None
    assert scores.name == "scores A01 (gmanet)"
    assert attention.name == "attention A01 (gmanet)"
    assert attention.blending == "translucent"  # additive, it would drown a bright image
    assert attention.colormap.map([0.0, 1.0])[:, 3].tolist() == [0, 1]
    assert focus.form.legend.texts() == ("0, blurred", "blank: little specimen", "100, clearest")
    assert focus.form.legend.field_text(3) == "score 30 to 40"
    for layer in (scores, attention):
        corner = np.asarray(layer.data_to_world((3, -0.5, -0.5)))
        np.testing.assert_allclose(corner, image.data_to_world((3, -0.5, -0.5)))
        beyond = np.asarray(layer.data_to_world((3, 1.5, 1.5)))  # two patches of 32 px
        np.testing.assert_allclose(beyond, image.data_to_world((3, 63.5, 63.5)))
        assert layer.data.shape == (7, 4, 8)
    judged = np.isfinite(scores.data[3])
    assert judged[:2, :2].all()
    assert not judged[:, 5:].any()
    said = scores.get_status(scores.data_to_world((3, 0, 0)), world=True)["coordinates"]
    assert said.startswith("slice 3, patch (0, 0): score ")
    assert "attention" in said


def test_attention_is_offered_where_a_network_tells_it(bench: Bench) -> None:
    bench.viewer.add_image(cornered(), name="A01", **CALIBRATED)
    focus = bench.open()
    bench.score("gmanet")
    focus.form.attention_box.click()
    attention = focus.overlays.attention
    bench.viewer.layers.remove(attention)
    assert not focus.form.attention_box.isChecked()
    assert focus.overlays.attention is None
    bench.score("tenengrad")
    assert focus.form.attention_box.isHidden()
