"""Picks in the Focus widget: by hand, by keys, listed, undone and saved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import Qt

from focus_bench import BEST, CALIBRATED, Bench, save_to, stack
from napari_focusstack.io.labels import read_labels


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
    assert focus.where()["Z"] == BEST
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


def test_next_stack_can_be_pressed_where_there_is_another_one(bench: Bench, notes: list[str]) -> None:
    layer = bench.viewer.add_image(stack(), name="A01")
    bench.viewer.add_image(np.zeros((64, 64)), name="no stack")
    focus = bench.open()
    button = focus.form.picks.next_button
    assert not button.isEnabled()
    assert "only stack" in button.toolTip()
    focus.picking.next_stack()  # by the key
    assert "only stack" in notes[-1]
    second = bench.viewer.add_image(stack(), name="A02")
    assert button.isEnabled()
    assert "Go to the next stack" in button.toolTip()
    bench.viewer.layers.remove(second)
    assert not button.isEnabled()
    layer.data = np.stack([layer.data, layer.data])
    assert button.isEnabled()


def test_keys_pick_and_go_on_and_are_given_back(bench: Bench) -> None:
    bench.viewer.add_image(stack(), name="A01")
    focus = bench.open()
    bound = {str(key): action for key, action in bench.viewer.keymap.items()}
    bound["P"](bench.viewer)
    assert focus.form.picks.picks.get("A01") is not None
    focus.shut_down()
    assert not {"P", "N"} & {str(key) for key in bench.viewer.keymap}


def test_keys_pick_while_the_widget_has_the_keyboard(bench: Bench, qtbot: Any) -> None:
    bench.viewer.add_image(stack(), name="A01")
    focus = bench.open()
    focus.show()
    focus.activateWindow()
    bench.viewer.dims.set_current_step(0, 2)
    for button in (focus.form.map_box, focus.form.job_bar.run_button):
        button.setFocus()
        qtbot.waitUntil(button.hasFocus, timeout=60_000)
        qtbot.keyClick(button, Qt.Key.Key_P)
    assert focus.form.picks.picks.get("A01").slice == 2
    bench.viewer.dims.set_current_step(0, 5)
    search = focus.form.scorer_box.lineEdit()
    search.setFocus()
    qtbot.waitUntil(search.hasFocus, timeout=60_000)
    qtbot.keyClick(search, Qt.Key.Key_P)  # who looks for a scorer picks nothing
    assert focus.form.picks.picks.get("A01").slice == 2
    assert focus.form.plot.focusPolicy() == Qt.FocusPolicy.NoFocus


def test_keys_that_are_taken_are_left_alone(bench: Bench) -> None:
    def other(_viewer: Any) -> None: ...

    bench.viewer.bind_key("P", other)
    focus = bench.open()
    focus.shut_down()
    assert other in bench.viewer.keymap.values()


def test_picks_are_saved_as_a_table(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.viewer.add_image(stack(), name="A01")
    panel = bench.open().form.picks
    panel.pick_button.click()
    save_to(monkeypatch, tmp_path / "mine")
    panel.save_button.click()
    (pick,) = panel.picks.picks
    (place,) = (found := read_labels(tmp_path / "mine.csv"))
    assert (place.stack, found[place].best) == ("A01", pick.slice)


def test_a_folder_that_refuses_is_told_in_a_sentence(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, notes: list[str]
) -> None:
    bench.viewer.add_image(stack())
    panel = bench.open().form.picks
    panel.pick_button.click()
    save_to(monkeypatch, tmp_path / "not there" / "picks.csv")
    panel.save_button.click()
    assert "does not exist" in notes[-1]
