from __future__ import annotations

import csv
import io
from pathlib import Path

from napari_focusstack.core.picks import COLUMNS, Pick, PickList
from napari_focusstack.io.labels import Place, read_labels


def test_a_second_pick_for_the_same_stack_replaces_the_first_in_its_place() -> None:
    picks = PickList().with_pick(Pick("A01", 5)).with_pick(Pick("A02", 1)).with_pick(Pick("A01", 6))
    assert [(p.stack, p.slice) for p in picks.picks] == [("A01", 6), ("A02", 1)]


def test_time_points_and_positions_have_picks_of_their_own() -> None:
    picks = PickList().with_pick(Pick("A01", 5)).with_pick(Pick("A01", 6, time=1)).with_pick(Pick("A01", 7, position=1))
    assert len(picks) == 3
    assert picks.get("A01", time=1) == Pick("A01", 6, time=1)


def test_an_earlier_list_is_untouched_so_that_undo_is_going_back() -> None:
    before = PickList().with_pick(Pick("A01", 5))
    before.with_pick(Pick("A01", 6)).without(Pick("A01", 6))
    assert before.get("A01") == Pick("A01", 5)


def test_the_table_holds_everything_that_is_known() -> None:
    first, second = Pick("Müller, 1", 5, z_um=1003.25, proposed=4, confidence=0.5), Pick('a "b"', 0, position=2, time=3)
    rows = list(csv.DictReader(io.StringIO(PickList((first, second)).to_csv())))
    assert tuple(rows[0]) == COLUMNS
    for row, pick in zip(rows, (first, second), strict=True):
        assert row == {c: "" if getattr(pick, c) is None else str(getattr(pick, c)) for c in COLUMNS}


def test_the_table_is_read_as_labels(tmp_path: Path) -> None:
    table = tmp_path / "picks.csv"
    table.write_text(PickList((Pick("A01", 5, time=1),)).to_csv(), encoding="utf-8")
    assert {place: truth.best for place, truth in read_labels(table).items()} == {Place("A01", time=1): 5}


def test_renaming_a_stack_renames_its_picks() -> None:
    assert PickList((Pick("old", 3),)).renamed("old", "new").get("new") == Pick("new", 3)
