from __future__ import annotations

import csv
import io

import numpy as np

from napari_focusstack.core.report import Decision, FocusReport, Grid
from napari_focusstack.io.scores import COLUMNS, ScoredPlace, scores_table


def report(weights: list[float], **more: object) -> FocusReport:
    return FocusReport(
        scorer="tenengrad",
        units="grey²",
        values=np.array([1.0, 3.0, np.nan]),
        maps=np.ones((3, 1, 2), np.float32),
        weights=np.array([weights], np.float32),
        specimen_weights=np.array([[1, 0]], np.float32),
        grid=Grid((1, 2), (8.0, 8.0)),
        decision=Decision(1, 1.1, 2.2, 0.9, (1, 1), (1,), "Slice 1, clearly."),
        **more,  # type: ignore[arg-type]
    )


def rows(*places: ScoredPlace) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(scores_table(places))))


def test_two_channels_have_rows_that_can_be_told_apart() -> None:
    found = rows(ScoredPlace(report([1, 0]), "A", channel="DNA"), ScoredPlace(report([1, 0]), "A", channel=1))
    assert [row["channel"] for row in found] == ["DNA"] * 3 + ["1"] * 3
    keys = [tuple(row[c] for c in ("stack", "position", "time", "channel", "scorer", "slice")) for row in found]
    assert len(set(keys)) == len(found)


def test_each_row_says_what_decided_and_why() -> None:
    region = np.ones((8, 16), bool)
    found = rows(ScoredPlace(report([1, 0])), ScoredPlace(report([1, 1])), ScoredPlace(report([1, 0.5], region=region)))
    assert [row["basis"] for row in found[::3]] == ["specimen", "whole image", "region"]
    assert {row["reason"] for row in found} == {"Slice 1, clearly."}
    assert {row["confidence"] for row in found} == {"0.9"}


def test_numbers_have_as_many_digits_as_mean_something() -> None:
    one = report([1, 0], heights_um=np.array([0.1, 0.2, 0.1 + 0.2]))
    one.values[:] = 1 / 3, 1234567.89, np.nan
    found = rows(ScoredPlace(one))
    assert [row["z_um"] for row in found] == ["0.1", "0.2", "0.3"]
    assert [row["value"] for row in found] == ["0.333333", "1234570.0", ""]


def test_a_series_that_failed_has_one_row_with_the_reason() -> None:
    found = rows(
        ScoredPlace(report([1, 0], extras={"defocus_um": [0, 1, 2]}), time=0),
        ScoredPlace(None, time=1, scorer="tenengrad", reason="Slice 2 holds NaN."),
    )
    assert len(found) == 4
    assert (found[3]["time"], found[3]["value"], found[3]["reason"]) == ("1", "", "Slice 2 holds NaN.")
    assert None not in found[3]
    assert None not in found[3].values()


def test_the_columns_are_always_the_same() -> None:
    alone = scores_table([ScoredPlace(report([1, 0]))]).splitlines()[0]
    assert alone == scores_table([ScoredPlace(report([1, 0]))] * 2).splitlines()[0] == ",".join(COLUMNS)
