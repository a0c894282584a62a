from __future__ import annotations

import csv
import io
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pytest
from napari.components import ViewerModel
from qtpy.QtCore import QPoint, Qt
from qtpy.QtWidgets import QFileDialog

from napari_focusstack.core.stack import Optics, from_array
from napari_focusstack.io.labels import read_labels
from napari_focusstack.widgets.focus import FocusWidget
from napari_focusstack.widgets.focus_state import ScoredSeries, Target
from napari_focusstack.widgets.layers import METADATA, layer_of, show, shown_at, stack_of

BEST = 3


def stack(n: int = 7, size: int = 128, *, best: int = BEST, seed: int = 0) -> np.ndarray:
    """Texture that is sharpest at slice `best`, uint16."""
    import cv2

    random = np.random.default_rng(seed)
    sharp = random.random((size, size), np.float32) * 20000 + 5000
    planes = [cv2.GaussianBlur(sharp, (0, 0), 0.4 + min(abs(z - best), 6)) for z in range(n)]
    return np.stack([(p + random.normal(0, 30, p.shape)).clip(0, 65535).astype(np.uint16) for p in planes])


CALIBRATED: dict[str, Any] = {"scale": (2.0, 0.5, 0.5), "units": ("um",) * 3, "axis_labels": ("z", "y", "x")}


class Bench:
    """The widget on a viewer without a window."""

    def __init__(self, qtbot: Any) -> None:
        self.qtbot = qtbot
        self.viewer = ViewerModel()
        self.focus: FocusWidget = None  # type: ignore[assignment]

    def open(self) -> FocusWidget:
        self.focus = FocusWidget(self.viewer)
        events = self.viewer.layers.events
        for event in (events.inserted, events.removed, events.reordered, events.renamed):
            event.connect(self.focus.reset_choices)  # as napari's window does for docked widgets
        self.qtbot.addWidget(self.focus)
        return self.focus

    def score(self, scorer: str | None = None) -> None:
        if scorer:
            self.focus.form.scorer_box.choose(scorer)
        self.focus.form.job_bar.run_button.click()
        self.idle()

    def idle(self) -> None:
        self.qtbot.waitUntil(self.is_idle, timeout=20_000)

    def is_idle(self) -> bool:
        scoring = self.focus.scoring
        runners = (self.focus.form.job_bar.runner, scoring._reweigher, scoring.saver, self.focus.extracting.runner)
        return not any(runner.busy for runner in runners)

    @property
    def verdict(self) -> str:
        return self.focus.form.verdict.text()


@pytest.fixture
def bench(qtbot: Any) -> Iterator[Bench]:
    made = Bench(qtbot)
    yield made
    if made.focus is not None:
        made.focus.shut_down()


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


def slow(pixels: np.ndarray[Any, Any]) -> da.Array:
    """A stack whose slices take a while to read, whatever the machine."""

    def read(block: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        time.sleep(0.05)
        return block

    return da.from_array(pixels, chunks=(1, *pixels.shape[1:])).map_blocks(read, dtype=pixels.dtype, meta=pixels[:0])


def test_the_curve_grows_while_slices_are_scored(bench: Bench, qtbot: Any) -> None:
    bench.viewer.add_image(slow(stack(n=30, best=5)), contrast_limits=(0, 255))
    focus = bench.open()
    focus.form.job_bar.run_button.click()
    qtbot.waitUntil(lambda: 0 < np.isfinite(focus.form.plot.view.values).sum() < 30, timeout=20_000)
    assert focus.form.plot.view.best is None
    bench.idle()
    assert focus.form.plot.view.best is not None


def test_the_line_follows_the_slider_and_a_click_moves_the_slider(bench: Bench) -> None:
    layer = bench.viewer.add_image(stack(), **CALIBRATED)
    focus = bench.open()
    bench.viewer.dims.set_point(0, 4.0)
    assert focus.form.plot.shown_slice == 2
    focus.form.plot.slice_asked.emit(5)
    assert shown_at(layer, bench.viewer.dims)["Z"] == 5
    assert focus.form.plot.shown_slice == 5


def test_curves_of_other_scorers_stay_for_comparison(bench: Bench) -> None:
    bench.viewer.add_image(stack())
    focus = bench.open()
    bench.score("tenengrad")
    bench.score("variance_of_laplacian")
    assert list(focus.form.plot.view.earlier) == ["Tenengrad"]
    focus.form.scorer_box.choose("tenengrad")
    assert list(focus.form.plot.view.earlier) == ["Variance of Laplacian"]
    assert focus.form.plot.view.best == BEST


def test_the_outline_and_the_focus_map_lie_on_the_image(bench: Bench, qtbot: Any) -> None:
    data = np.zeros((7, 256, 256), np.uint16) + 1000
    data[:, 64:192, 64:192] += stack()
    layer = bench.viewer.add_image(data, name="A01", **CALIBRATED)
    focus = bench.open()
    bench.score()
    focus.form.map_box.click()
    shown = focus.overlays.map
    assert shown is not None
    assert shown.name == "A01 focus map (tenengrad)"
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
    qtbot.waitUntil(lambda: len(bench.viewer.layers) == 1, timeout=2000)


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


def test_a_drawn_region_decides_without_scoring_again(bench: Bench, qtbot: Any) -> None:
    data = np.concatenate([stack(best=1), stack(best=5, seed=1)], axis=2)
    bench.viewer.add_image(data, name="two", **CALIBRATED)
    focus = bench.open()
    bench.score()
    focus.form.basis.button(2).click()
    shapes = bench.viewer.layers["two region"]
    assert shapes.mode == "add_polygon_lasso"
    shapes.add_rectangles([[10, 140], [10, 240], [110, 240], [110, 140]])
    qtbot.waitUntil(lambda: focus.form.plot.view.best == 5, timeout=5000)
    assert "drawn region" in bench.verdict
    shapes.data = []
    shapes.add_ellipses([[10, 10], [10, 110], [110, 110], [110, 10]])
    qtbot.waitUntil(lambda: focus.form.plot.view.best == 1, timeout=5000)


def test_a_region_stays_with_a_stack_that_is_renamed(bench: Bench, qtbot: Any) -> None:
    first = bench.viewer.add_image(stack(), name="A01")
    second = bench.viewer.add_image(stack(), name="A02")
    focus = bench.open()
    focus.choose_layer(first)
    focus.form.basis.button(2).click()
    bench.viewer.layers["A01 region"].add_rectangles([[10, 10], [10, 60], [60, 60], [60, 10]])
    qtbot.waitUntil(lambda: bool(focus.regions.region), timeout=5000)
    first.name = "B01"
    second.name = "A01"
    focus.choose_layer(second)
    assert not focus.regions.region
    focus.choose_layer(first)
    assert focus.regions.region


def test_a_region_beside_the_image_is_refused_in_a_sentence(bench: Bench, qtbot: Any, notes: list[str]) -> None:
    bench.viewer.add_image(stack(), name="A01")
    focus = bench.open()
    bench.score()
    focus.form.basis.button(2).click()
    bench.viewer.layers["A01 region"].add_rectangles([[500, 500], [500, 600], [600, 600], [600, 500]])
    qtbot.waitUntil(lambda: bool(notes), timeout=5000)
    assert "beside the image" in notes[0]


def test_the_whole_image_can_decide(bench: Bench) -> None:
    bench.viewer.add_image(stack())
    focus = bench.open()
    bench.score()
    focus.form.basis.button(1).click()
    bench.idle()
    assert (focus.scored.report.weights == 1).all()


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


def test_a_layer_that_is_deleted_while_it_is_scored_stops_the_job(bench: Bench, qtbot: Any, notes: list[str]) -> None:
    layer = bench.viewer.add_image(stack(n=60, size=1024), name="A01")
    focus = bench.open()
    focus.form.job_bar.run_button.click()
    qtbot.waitUntil(lambda: focus.scoring.run is not None and np.isfinite(focus.scoring.run.values).any(), timeout=9000)
    bench.viewer.layers.remove(layer)
    assert bench.is_idle()
    assert notes == ["'A01' was deleted while it was scored: scoring has stopped."]
    assert focus.layer is None


def test_cancel_in_the_middle_says_how_far_it_came(bench: Bench, qtbot: Any) -> None:
    bench.viewer.add_image(stack(n=60, size=1024))
    focus = bench.open()
    focus.form.job_bar.run_button.click()
    qtbot.waitUntil(lambda: focus.scoring.run is not None and np.isfinite(focus.scoring.run.values).any(), timeout=9000)
    focus.form.job_bar.cancel_button.click()
    assert bench.is_idle()
    assert "Cancelled after" in bench.verdict
    assert focus.form.job_bar.runner.busy is False


def test_picks_by_hand_and_accepted_are_listed_and_undone(bench: Bench) -> None:
    bench.viewer.add_image(stack(), name="A01", **CALIBRATED)
    focus = bench.open()
    bench.score()
    bench.viewer.dims.set_point(0, 10.0)
    panel = focus.form.picks
    assert panel.pick_button.text() == "Pick slice 5"
    panel.pick_button.click()
    pick = panel.picks.get("A01")
    assert pick is not None
    assert (pick.slice, pick.z_um, pick.by, pick.proposed) == (5, 10.0, "hand", BEST)
    panel.accept_button.click()
    accepted = panel.picks.get("A01")
    assert accepted is not None
    assert (accepted.slice, accepted.by) == (BEST, "tenengrad")
    assert panel.table.rowCount() == 1
    panel.undo_button.click()
    assert panel.picks.get("A01") == pick
    panel.table.selectRow(0)
    panel.delete_button.click()
    assert len(panel.picks) == 0
    panel.undo()
    assert panel.picks.get("A01") == pick


def test_a_renamed_layer_keeps_its_pick_and_its_scores(bench: Bench) -> None:
    layer = bench.viewer.add_image(stack(), name="A01")
    focus = bench.open()
    bench.score()
    focus.form.picks.pick_button.click()
    layer.name = "Müller 1"
    assert focus.form.picks.picks.get("Müller 1") is not None
    assert focus.form.layer_box.currentText() == "Müller 1"
    assert focus.form.plot.view.best == BEST


def test_next_stack_goes_to_each_series_without_a_pick_and_says_when_all_are_done(
    bench: Bench, notes: list[str]
) -> None:
    first = bench.viewer.add_image(stack(), name="A01")
    second = bench.viewer.add_image(np.stack([stack(), stack()]), name="A02", axis_labels=("t", "z", "y", "x"))
    focus = bench.open()
    focus.choose_layer(first)
    panel = focus.form.picks
    seen = []
    for _ in range(3):
        seen.append((focus.layer.name, focus.where().get("T", 0)))
        panel.pick_button.click()
        panel.next_button.click()
    assert sorted(seen) == [("A01", 0), ("A02", 0), ("A02", 1)]
    assert "Every stack has a pick." in notes
    assert second.visible


def test_keys_pick_and_go_on_and_are_given_back(bench: Bench) -> None:
    bench.viewer.add_image(stack(), name="A01")
    focus = bench.open()
    bound = {str(key): action for key, action in bench.viewer.keymap.items()}
    bound["P"](bench.viewer)
    assert focus.form.picks.picks.get("A01") is not None
    focus.shut_down()
    assert not {"P", "N"} & {str(key) for key in bench.viewer.keymap}


def test_keys_that_are_taken_are_left_alone(bench: Bench) -> None:
    def other(_viewer: Any) -> None: ...

    bench.viewer.bind_key("P", other)
    focus = bench.open()
    focus.shut_down()
    assert other in bench.viewer.keymap.values()


def save_to(monkeypatch: pytest.MonkeyPatch, path: Path) -> list[str]:
    proposed: list[str] = []

    def answer(_parent: Any, _title: str, name: str, _filter: str) -> tuple[str, str]:
        proposed.append(name)
        return str(path), ""

    monkeypatch.setattr(QFileDialog, "getSaveFileName", answer)
    return proposed


def test_picks_are_saved_as_a_table(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.viewer.add_image(stack(), name="A01")
    panel = bench.open().form.picks
    panel.pick_button.click()
    save_to(monkeypatch, tmp_path / "mine")
    panel.save_button.click()
    (pick,) = panel.picks.picks
    (place,) = (found := read_labels(tmp_path / "mine.csv"))
    assert (place.stack, found[place].best) == ("A01", pick.slice)


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


def table(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig"))))


def saved(bench: Bench, monkeypatch: pytest.MonkeyPatch, path: Path) -> list[dict[str, str]]:
    save_to(monkeypatch, path)
    bench.focus.form.save_scores_button.click()
    bench.idle()
    return table(path)


def on_a_dark_field(*best: int) -> np.ndarray:
    """A series for each of `best`, with a specimen in the middle."""
    data = np.zeros((len(best), 7, 256, 256), np.uint16) + 1000
    for t, z in enumerate(best):
        data[t, :, 64:192, 64:192] += stack(best=z)
    return data


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


def test_patches_have_the_size_that_is_chosen(bench: Bench) -> None:
    bench.viewer.add_image(stack())
    focus = bench.open()
    bench.score()
    focus.form.map_box.click()
    assert focus.overlays.map.data.shape == (7, 4, 4)
    focus.form.patch_box.setValue(16)
    bench.score()
    assert focus.overlays.map.data.shape == (7, 8, 8)


def test_a_folder_that_refuses_is_told_in_a_sentence(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, notes: list[str]
) -> None:
    bench.viewer.add_image(stack())
    panel = bench.open().form.picks
    panel.pick_button.click()
    save_to(monkeypatch, tmp_path / "not there" / "picks.csv")
    panel.save_button.click()
    assert "does not exist" in notes[-1]


@pytest.mark.parametrize(
    ("kind", "name", "shape"),
    [(0, "slice 3", (128, 128)), (1, "slices 2–4", (3, 128, 128)), (2, "max of slices 2–4", (128, 128))],
)
def test_slices_are_extracted_where_they_lie(bench: Bench, kind: int, name: str, shape: tuple[int, ...]) -> None:
    layer = bench.viewer.add_image(stack(), name="A01", **CALIBRATED)
    focus = bench.open()
    bench.score()
    focus.form.extract.kind.setCurrentIndex(kind)
    focus.form.extract.button.click()
    bench.idle()
    new = bench.viewer.layers[f"A01 {name}"]
    assert new.data.shape == shape
    assert new.scale == pytest.approx(layer.scale[-new.ndim :])
    assert new.units == layer.units[-new.ndim :]
    if new.ndim == 3:
        assert np.array_equal(new.data, layer.data[2:5])
        assert new.translate[0] == 4.0


def extract(bench: Bench, kind: int) -> Any:
    before = list(bench.viewer.layers)
    bench.focus.form.extract.centre.setCurrentIndex(bench.focus.form.extract.centre.findData("shown"))
    bench.focus.form.extract.kind.setCurrentIndex(kind)
    bench.focus.form.extract.button.click()
    bench.idle()
    return next(x for x in bench.viewer.layers if x not in before)


def test_slices_of_an_uneven_stack_keep_their_heights_channel_and_optics(bench: Bench) -> None:
    heights = (0.0, 1.0, 3.0, 10.0, 20.0, 50.0, 51.0)
    optics = Optics(na=0.5)
    placed = layer_of(from_array(stack(), z_positions_um=heights, y_um=0.5, x_um=0.5, optics=optics, channels=("DNA",)))
    bench.viewer.add_image(placed.data, **placed.kwargs)
    bench.open()
    show(bench.viewer.layers[0], bench.viewer.dims, Z=3)
    found = stack_of(extract(bench, 1))
    assert found.z_positions_um == heights[2:5]
    assert (found.optics, found.channels) == (optics, ("DNA",))


def test_a_projection_tells_the_heights_that_it_is_of(bench: Bench) -> None:
    bench.viewer.add_image(stack(), **CALIBRATED)
    bench.open()
    show(bench.viewer.layers[0], bench.viewer.dims, Z=3)
    assert extract(bench, 2).metadata[METADATA]["heights_um"] == [4.0, 8.0]


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


Make = Callable[..., Any]


def test_the_whole_job_by_mouse_in_a_real_window(make_napari_viewer: Make, qtbot: Any) -> None:
    viewer = make_napari_viewer(show=True)
    viewer.add_image(stack(), name="A01", **CALIBRATED)
    focus = viewer.window.add_plugin_dock_widget("napari-focusstack", "Focus")[1]
    qtbot.mouseClick(focus.form.job_bar.run_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: focus.scored is not None, timeout=20_000)
    plot = focus.form.plot
    at = plot.mapFromScene(plot.box.mapViewToScene(plot.box.viewRect().center()))
    qtbot.mouseClick(plot.viewport(), Qt.MouseButton.LeftButton, pos=QPoint(at.x(), at.y()))
    qtbot.waitUntil(lambda: plot.shown_slice == 3, timeout=2000)
    qtbot.mouseClick(focus.form.picks.accept_button, Qt.MouseButton.LeftButton)
    assert focus.form.picks.table.item(0, 0).text() == "A01"
    assert not focus.form.verticalScrollBar().isVisible() or focus.height() < 700


def test_a_stack_is_scored_while_fuse_is_docked_over_the_same_layer(make_napari_viewer: Make, qtbot: Any) -> None:
    viewer = make_napari_viewer(show=True)
    viewer.add_image(stack(), name="A01", **CALIBRATED)
    dock, focus = viewer.window.add_plugin_dock_widget("napari-focusstack", "Focus")
    _, fuse = viewer.window.add_plugin_dock_widget("napari-focusstack", "Fuse")
    qtbot.waitUntil(lambda: bool(viewer.window._qt_window.tabifiedDockWidgets(dock)), timeout=5000)
    dock.raise_()
    before = focus.target
    qtbot.mouseClick(focus.form.job_bar.run_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: focus.scored is not None, timeout=20_000)
    assert focus.layer is fuse.layer is viewer.layers["A01"]
    assert focus.target == before


def test_closing_the_dock_stops_the_job_and_frees_the_widget(make_napari_viewer: Make, qtbot: Any) -> None:
    import gc
    import weakref

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
    qtbot.wait(100)
    gc.collect()
    assert gone() is None


def test_the_viewer_can_be_closed_while_slices_are_scored(make_napari_viewer: Make, qtbot: Any) -> None:
    viewer = make_napari_viewer()
    viewer.add_image(stack(n=60, size=512))
    focus = viewer.window.add_plugin_dock_widget("napari-focusstack", "Focus")[1]
    focus.form.job_bar.run_button.click()
    qtbot.waitUntil(lambda: focus.scoring.run is not None and bool(np.isfinite(focus.scoring.run.values).any()))
    runner = focus.form.job_bar.runner
    viewer.close()
    qtbot.waitUntil(lambda: not runner.busy)
    assert focus.scored is None


def test_the_curve_follows_the_theme(make_napari_viewer: Make) -> None:
    viewer = make_napari_viewer()
    focus = viewer.window.add_plugin_dock_widget("napari-focusstack", "Focus")[1]
    viewer.theme = "light"
    light = focus.form.plot.backgroundBrush().color().lightness()
    viewer.theme = "dark"
    assert focus.form.plot.backgroundBrush().color().lightness() < light
