"""HH-Net in the Focus widget: classes with certainty as opacity, what is said of a slice, the index over the slices."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

from focus_bench import CALIBRATED, Bench
from napari_focusstack.networks import hhnet
from napari_focusstack.widgets.map_views import DIVERGING_COLOURS, OPACITIES

pytestmark = pytest.mark.usefixtures("networks")
told: list[dict[str, Any]] = []
"""What the network of `bench` was told of the objective, plane by plane."""


@pytest.fixture
def bench(qtbot: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """A network that reads the distance of each half from its grey value: sure on the left, unsure on the right."""

    told.clear()

    def classify_plane(_network: Any, plane: Any, _features: Any, **objective: Any) -> np.ndarray:
        told.append(objective)
        distance = (float(np.mean(plane)) - 100) / 20
        sure = np.maximum(0, 1 - np.abs(np.array(hhnet.DISTANCES) - distance))
        return np.array([[sure, 0.75 * sure + 0.25 / 7, np.full(7, 1 / 7)]], np.float32)

    monkeypatch.setattr(hhnet, "classify_plane", classify_plane)
    made = Bench(qtbot)
    data = np.stack([np.full((96, 144), 100 + 20 * i, np.uint8) for i in (-3, -2, -1, 0, 1, 2)])
    made.viewer.add_image(data, name="A01", **CALIBRATED)
    made.open()
    made.score("hhnet")
    yield made
    if made.focus is not None:
        made.focus.shut_down()


def test_the_map_has_a_colour_for_each_class_and_is_faint_where_it_is_unsure(bench: Bench) -> None:
    focus = bench.focus
    assert focus is not None
    focus.form.map_box.click()
    layer = focus.overlays.map
    assert layer is not None
    assert layer.name == "distances A01 (hhnet)"
    low, high = layer.contrast_limits
    assert (low, high) == (-0.5, 7 * len(OPACITIES) - 0.5)
    shown = layer.colormap.map((np.asarray(layer.data)[:, 0, :2].ravel() - low) / (high - low)).reshape(-1, 2, 4)
    assert len(np.unique(shown[:, 0, :3].round(3), axis=0)) == 6
    np.testing.assert_allclose(shown[:, 0, :3], shown[:, 1, :3], atol=1e-3)
    assert (shown[:, 0, 3] > shown[:, 1, 3]).all()
    assert np.isnan(layer.data[:, 0, 2]).all()


def test_the_objective_is_asked_for_and_told(bench: Bench) -> None:
    """It answers without, so nothing is held up; another objective makes its answers old."""
    focus = bench.focus
    assert focus is not None
    form = focus.optics
    assert not form.isHidden()
    assert form.label.text() == "Answers better if told the numerical aperture and wavelength."
    assert form.rings.isHidden()
    assert focus.form.job_bar.run_button.isEnabled()
    assert told[0] == {"sampling": None, "aperture": None}
    form.na.setValue(0.95)
    form.wavelength_nm.setValue(500)
    form.button.click()
    assert focus.scored is None
    assert form.label.isHidden()
    told.clear()
    bench.score()
    assert told[0]["aperture"] == pytest.approx(0.95)
    assert told[0]["sampling"] == pytest.approx(CALIBRATED["scale"][-1] * 0.95 / 0.5)
    focus.form.scorer_box.choose("tenengrad")
    assert form.isHidden()
    focus.form.scorer_box.choose("ldsenet")
    assert not form.rings.isHidden()


def test_the_aperture_alone_is_taken_and_an_impossible_one_is_not(bench: Bench) -> None:
    focus = bench.focus
    assert focus is not None
    form = focus.optics
    form.na.setValue(1.6)
    assert not form.button.isEnabled()
    form.na.setValue(0.95)
    assert form.button.isEnabled()
    form.button.click()
    told.clear()
    bench.score()
    assert told[0] == {"sampling": None, "aperture": pytest.approx(0.95)}


def test_another_pixel_size_makes_the_answer_old_and_another_layer_does_not(bench: Bench) -> None:
    focus = bench.focus
    assert focus is not None
    layer = bench.viewer.layers["A01"]
    other = bench.viewer.add_image(np.zeros((4, 96, 144), np.uint8), name="other", **CALIBRATED)
    focus.form.layer_box.setCurrentText("other")
    assert focus.layer is other
    focus.form.layer_box.setCurrentText("A01")
    assert focus.scored is not None
    focus.optics.button.click()  # what is known already
    assert focus.scored is not None
    layer.scale = (2.0, 0.1, 0.1)
    assert focus.scored is None


def test_the_legend_tells_the_sides(bench: Bench) -> None:
    focus = bench.focus
    assert focus is not None
    focus.form.map_box.click()
    legend = focus.form.legend
    assert legend.texts()[0] == "too near"
    assert legend.texts()[-1] == "too far"
    legend.resize(350, legend.sizeHint().height())
    image = legend.grab().toImage()
    field = image.width() / 7
    assert {image.pixelColor(int((k + 0.4) * field), 3).name() for k in range(7)} == set(DIVERGING_COLOURS)


def test_the_hover_text_tells_class_index_and_certainty(bench: Bench) -> None:
    focus = bench.focus
    assert focus is not None
    focus.form.map_box.click()
    layer = focus.overlays.map
    assert layer is not None
    said = layer.get_status(layer.data_to_world((5, 0, 0)), world=True)["coordinates"]
    assert "too far (class +2), index +2.00, certainty 1.00" in said
    blank = layer.get_status(layer.data_to_world((5, 0, 2)), world=True)["coordinates"]
    assert blank.endswith("nothing to judge by")


def test_the_curve_is_the_index_with_its_zero_crossing(bench: Bench) -> None:
    focus = bench.focus
    assert focus is not None
    view = focus.form.plot.view
    assert view.signed
    assert view.values is not None
    assert (np.diff(view.values) > 0.5).all()
    assert view.crossing == pytest.approx(3, abs=0.01)
    assert view.best == 3
    assert "goes through zero at slice 3.0" in bench.verdict
    assert "in focus" in bench.verdict


def test_another_scorers_curve_has_no_zero(bench: Bench) -> None:
    bench.score("mmdf")
    focus = bench.focus
    assert focus is not None
    assert not focus.form.plot.view.signed
    assert focus.form.plot.view.crossing is None


def test_where_there_is_nothing_to_judge_by_no_slice_is_proposed(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers that are hardly more than even still make a curve with a maximum."""

    def unsure(_network: Any, plane: Any, _features: Any, **_objective: Any) -> np.ndarray:
        p = np.full((3, 3, 7), 1 / 7, np.float32)
        p[..., 3] += 0.001 * (200 - float(np.mean(plane)))
        return p / p.sum(axis=-1, keepdims=True)

    monkeypatch.setattr(hhnet, "classify_plane", unsure)
    bench.score("hhnet")
    focus = bench.focus
    assert focus is not None
    assert focus.scored.report.decision.best is None
    assert "nothing to judge by on any slice" in bench.verdict
    assert "certain" not in bench.verdict
