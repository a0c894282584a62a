from __future__ import annotations

import pytest

from napari_focusstack.core.errors import InputError
from napari_focusstack.core.picks import Pick, PickList, picks_from_csv


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


def test_a_csv_round_trip_keeps_everything() -> None:
    picks = PickList(
        (Pick("Müller, 1", 5, z_um=1003.25, proposed=4, confidence=0.5), Pick('a "b"', 0, position=2, time=3))
    )
    assert picks_from_csv(picks.to_csv()) == picks


def test_a_table_without_slices_is_refused_in_a_sentence() -> None:
    with pytest.raises(InputError, match="no column 'slice'"):
        picks_from_csv("stack,z\nA01,3\n")
    with pytest.raises(InputError, match="Line 2"):
        picks_from_csv("stack,slice\nA01,three\n")


def test_renaming_a_stack_renames_its_picks() -> None:
    assert PickList((Pick("old", 3),)).renamed("old", "new").get("new") == Pick("new", 3)
