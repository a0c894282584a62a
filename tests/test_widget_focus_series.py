"""Many series in the Focus widget: channels, times, what is remembered of them, and saved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from focus_bench import BEST, CALIBRATED, Bench, on_a_dark_field, save_to, saved, stack, table
from napari_focusstack.widgets.focus_state import ScoredSeries, Target


def test_channels_of_an_axis_are_scored_one_by_one(bench: Bench) -> None:
    data = np.stack([stack(best=1), stack(best=5)])
    bench.viewer.add_image(data, axis_labels=("c", "z", "y", "x"))
    focus = bench.open()
    assert not focus.form.channel_box.isHidden()
    assert focus.form.channel_box.count() == 2
    bench.score()
    assert focus.form.plot.view.best == 1
    focus.form.channel_box.setCurrentIndex(1)
    assert focus.form.plot.view.best is None
    bench.score()
    assert focus.form.plot.view.best == 5


def test_channels_as_layers_are_scored_each_by_itself(bench: Bench) -> None:
    first, second = bench.viewer.add_image(np.stack([stack(best=1), stack(best=5)]), channel_axis=0)
    focus = bench.open()
    for layer, best in ((first, 1), (second, 5)):
        focus.choose_layer(layer)
        bench.score()
        assert focus.form.plot.view.best == best


def test_colours_are_scored(bench: Bench) -> None:
    grey = (stack() >> 8).astype(np.uint8)
    bench.viewer.add_image(np.repeat(grey[..., None], 3, axis=-1), rgb=True)
    bench.open()
    bench.score()
    assert bench.focus.form.plot.view.best == BEST


def test_all_time_points_are_scored_at_once_and_shown_by_the_slider(bench: Bench, notes: list[str]) -> None:
    data = np.stack([stack(best=b) for b in (1, 3, 5)])
    bench.viewer.add_image(data, axis_labels=("t", "z", "y", "x"))
    focus = bench.open()
    focus.form.all_box.setChecked(True)
    bench.score()
    for t, best in enumerate((1, 3, 5)):
        bench.viewer.dims.set_current_step(0, t)
        assert focus.form.plot.view.best == best
    assert notes == ["3 stacks of 'Image' are scored."] or "3 stacks" in notes[0]


def test_a_lone_time_point_leaves_the_others_unscored(bench: Bench) -> None:
    bench.viewer.add_image(np.stack([stack(), stack()]), axis_labels=("t", "z", "y", "x"))
    focus = bench.open()
    bench.viewer.dims.set_current_step(0, 0)
    bench.score()
    bench.viewer.dims.set_current_step(0, 1)
    assert focus.scored is None
    assert "Press Score slices" in bench.verdict


def test_scores_are_saved_as_a_table(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.viewer.add_image(stack(), name="A01")
    focus = bench.open()
    assert not focus.form.save_scores_button.isEnabled()
    bench.score()
    proposed = save_to(monkeypatch, tmp_path / "scores.csv")
    focus.form.save_scores_button.click()
    bench.idle()
    assert [int(r["slice"]) for r in table(tmp_path / "scores.csv") if r["best"] == "1"] == [BEST]
    assert proposed[0].endswith("A01_tenengrad.csv")


def test_all_saved_scores_are_decided_by_what_decides_now(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.viewer.add_image(on_a_dark_field(1, 3, 5), axis_labels=("t", "z", "y", "x"))
    focus = bench.open()
    focus.form.all_box.setChecked(True)
    bench.score()
    assert {r["basis"] for r in saved(bench, monkeypatch, tmp_path / "a.csv")} == {"specimen"}
    focus.form.basis.button(1).click()
    bench.idle()
    rows = saved(bench, monkeypatch, tmp_path / "b.csv")
    assert {r["basis"] for r in rows} == {"whole image"}
    assert [r["time"] for r in rows if r["best"] == "1"] == ["0", "1", "2"]


def test_channels_are_told_apart_in_saved_scores(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.viewer.add_image(np.stack([stack(best=1), stack(best=5)]), axis_labels=("c", "z", "y", "x"))
    focus = bench.open()
    bench.score()
    focus.form.channel_box.setCurrentIndex(1)
    bench.score()
    rows = saved(bench, monkeypatch, tmp_path / "a.csv")
    assert [(r["channel"], r["slice"]) for r in rows if r["best"] == "1"] == [("0", "1"), ("1", "5")]


def test_curves_and_decisions_stay_when_maps_make_room(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, notes: list[str]
) -> None:
    bench.viewer.add_image(on_a_dark_field(1, 3, 5), axis_labels=("t", "z", "y", "x"))
    focus = bench.open()
    focus.scoring.series = ScoredSeries(limit_bytes=1)
    focus.form.all_box.setChecked(True)
    bench.score()
    for t, best in enumerate((1, 3, 5)):
        bench.viewer.dims.set_current_step(0, t)
        assert focus.form.plot.view.best == best
    focus.form.map_box.click()
    bench.viewer.dims.set_current_step(0, 0)
    assert "made room" in bench.verdict
    assert focus.overlays.map is None
    focus.form.basis.button(1).click()
    bench.idle()
    rows = saved(bench, monkeypatch, tmp_path / "a.csv")
    assert [r["basis"] for r in rows[::7]] == ["specimen", "specimen", "whole image"]
    assert "2 of its stacks were decided by something else" in notes[-1]


def test_memory_of_scored_series_is_bounded(bench: Bench) -> None:
    bench.viewer.add_image(stack())
    focus = bench.open()
    bench.score()
    scored = focus.scored
    kept = ScoredSeries(limit_bytes=3 * scored.nbytes)
    targets = [Target("a", time=t) for t in range(50)]
    for target in targets:
        kept.put(target, scored)
    found = [kept.of(target)["tenengrad"] for target in targets]
    assert [s.whole for s in found] == [False] * 47 + [True] * 3
    assert sum(s.nbytes for s in found) <= 3 * scored.nbytes
    assert all(s.report.decision.best == BEST for s in found)


def test_a_bad_time_point_does_not_keep_the_others_from_being_scored(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, notes: list[str]
) -> None:
    data = np.stack([stack(best=b, size=64) for b in (1, 3, 5)]).astype(np.float32)
    data[1, 2, 5, 5] = np.nan
    bench.viewer.add_image(data, name="A01", axis_labels=("t", "z", "y", "x"), contrast_limits=(0, 1))
    focus = bench.open()
    focus.form.all_box.setChecked(True)
    bench.score()
    assert "2 stacks of 'A01' are scored, 1 could not be: position 0, time 1: Slice 2" in notes[-1]
    bench.viewer.dims.set_current_step(0, 1)
    assert "NaN" in bench.verdict
    bench.viewer.dims.set_current_step(0, 2)
    assert focus.form.plot.view.best == 5
    rows = saved(bench, monkeypatch, tmp_path / "a.csv")
    assert [r["time"] for r in rows] == ["0"] * 7 + ["1"] + ["2"] * 7
    assert "NaN" in rows[7]["reason"]


def test_what_was_forgotten_while_it_was_decided_anew_does_not_come_back(bench: Bench, qtbot: Any) -> None:
    layer = bench.viewer.add_image(stack())
    focus = bench.open()
    bench.score()
    focus.form.basis.button(1).click()
    assert focus.scoring._reweigher.busy
    layer.data = np.zeros((7, 128, 128), np.uint16)
    qtbot.wait(300)
    assert focus.scored is None


def test_a_calibration_while_it_is_decided_anew_is_not_undone(bench: Bench) -> None:
    layer = bench.viewer.add_image(stack(), **CALIBRATED)
    focus = bench.open()
    bench.score()
    focus.form.basis.button(1).click()
    assert focus.scoring._reweigher.busy
    layer.scale = (10, 1, 1)
    bench.idle()
    assert focus.scored.report.heights_um == pytest.approx(np.arange(7) * 10)


def test_pixels_that_take_the_place_of_others_have_no_scores(bench: Bench) -> None:
    first = bench.viewer.add_image(stack(), name="first")
    second = bench.viewer.add_image(stack(), name="second")
    focus = bench.open()
    focus.choose_layer(first)
    bench.score()
    focus.choose_layer(second)
    first.data = stack(best=5)  # nobody looks at it now
    focus.choose_layer(first)
    assert focus.scored is None


def test_the_outline_of_a_time_point_lies_over_all_its_slices_and_over_no_other_time_point(bench: Bench) -> None:
    calibrated = {"scale": (1, 2.0, 0.5, 0.5), "units": ("pixel", "um", "um", "um")}
    layer = bench.viewer.add_image(on_a_dark_field(1, 3), axis_labels=("t", "z", "y", "x"), **calibrated)
    focus = bench.open()
    bench.viewer.dims.set_current_step(0, 1)
    bench.score()
    outline = focus.overlays.outline
    assert outline is not None
    assert outline.axis_labels == layer.axis_labels
    assert outline.units == layer.units
    low, high = (np.asarray(outline.world_to_data(layer.data_to_world((1, z, 0, 0)))) for z in (0, 6))
    assert (low[0], low[1], high[0], high[1]) == (0, 0, 0, 6)
    assert outline.data.shape[:2] == (1, 7)
    assert outline.data[0, 0].any()
