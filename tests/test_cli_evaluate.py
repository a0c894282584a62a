"""`focusstack evaluate`, and the agreement that it tells."""

import csv
import json

import cv2
import numpy as np
import pytest
import tifffile

from napari_focusstack.cli.main import main
from napari_focusstack.core.agreement import Truth, agreement, spearman, summary


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as end:
        main([str(a) for a in arguments])
    said = capsys.readouterr()
    return end.value.code, said.out, said.err


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two stacks, in focus at slices 2 and 4."""
    where = tmp_path_factory.mktemp("stacks")
    random = np.random.default_rng(0)
    for name, best in (("a", 2), ("b", 4)):
        sharp = (random.random((96, 96)) * 200).astype(np.float32)
        planes = [cv2.GaussianBlur(sharp, (0, 0), 0.4 + abs(z - best)) for z in range(7)]
        tifffile.imwrite(where / f"{name}.ome.tif", np.stack(planes).astype(np.uint8), metadata={"axes": "ZYX"})
    return where


def labels(path, text):
    path.write_text(text)
    return path


def test_ranks_agree_with_scipy():
    stats = pytest.importorskip("scipy.stats")
    random = np.random.default_rng(1)
    for _ in range(5):
        a, b = random.integers(0, 6, (2, 12))
        assert spearman(a, b) == pytest.approx(stats.spearmanr(a, b).statistic)
    assert np.isnan(spearman([1, 1, 1], [1, 2, 3]))


def test_hits_neighbours_and_the_accepted_range_are_counted_apart():
    truth = Truth(best=3, accepted=(3, 5))
    curve = np.zeros(8)
    found = [agreement(curve, truth, found=k) for k in (3, 2, 5, 7, None)]
    total = summary(found)
    assert (total.stacks, total.t0, total.t1, total.accepted) == (5, 1, 1, 2)
    assert total.acc == pytest.approx(2 / 5)
    assert [a.off for a in found] == [0, 1, 2, 4, None]


def test_a_curve_that_falls_from_the_best_slice_agrees_with_a_label():
    truth = Truth(best=3, accepted=(2, 4))
    z = np.arange(9)
    assert agreement(-np.abs(z - 3.0), truth, found=3).rho > 0.95
    assert agreement(np.abs(z - 3.0), truth, found=0).rho < -0.95


def test_scores_given_by_an_expert_are_the_truth_of_the_ranks():
    truth = Truth(best=0, accepted=(0, 0), scores=(100, 50, 80, 0))
    assert agreement([9, 2, 3, 1], truth, found=0).rho == pytest.approx(1)


def test_evaluate_tells_who_hits(folder, tmp_path, capsys):
    known = labels(tmp_path / "labels.csv", "stack,lo,best,hi,note\na,2,2,3,x\nb,0,0,1,wrong on purpose\n")
    out = tmp_path / "results.csv"
    code, said, _ = run(
        capsys,
        "evaluate",
        folder,
        "--labels",
        known,
        "--scorer",
        "tenengrad",
        "--scorer",
        "brenner",
        "-o",
        out,
        "--json",
    )
    assert code == 0
    told = json.loads(said)
    for one in told["scorers"]:
        assert (one["stacks"], one["t0"], one["acc"], one["accepted"]) == (2, 1, 0.5, 1)
    rows = list(csv.DictReader(out.read_text().splitlines()))
    assert {(r["stack"], r["found"], r["off"]) for r in rows} == {("a", "2", "0"), ("b", "4", "4")}


def test_a_table_of_picks_can_be_given(folder, tmp_path, capsys):
    known = labels(tmp_path / "picks.csv", "stack,position,time,slice,z_um,by\na.ome.tif,0,0,2,,hand\n")
    code, said, _ = run(capsys, "evaluate", folder, "--labels", known, "--scorer", "tenengrad")
    assert code == 0
    assert "100.0" in said
    assert all(f"{column}:" in said for column in ("t0", "t1", "acc %", "accepted", "ρ", "s"))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("stack,best\nc,2\n", "holds no stack 'c'"),
        ("stack,best\na,9\n", "does not fit its 7 slices"),
        ("stack,best\na,two\n", "Line 2 of 'labels.csv': the column 'best' holds 'two': give the number of a slice"),
        ("stack,best\n\na,\n", "Line 3 of 'labels.csv': the column 'best' is empty"),
        ("stack,best\na\n", "Line 2 of 'labels.csv': the column 'best' is empty"),
        ("stack,slice\na,2.5\n", "the column 'slice' holds '2.5': give the number of a slice, a whole one from 0 on"),
        ("stack,best,lo\na,2,-1\n", "the column 'lo' holds '-1'"),
        ("stack,best,hi\na,2,nan\n", "the column 'hi' holds 'nan'"),
        ("stack,best,time\na,2,noon\n", "the column 'time' holds 'noon': give the number of a time, a whole one"),
        ("stack,best,scores\na,2,1 2 x 4\n", "the column 'scores' holds 'x': give a number for each slice"),
        ("stack,lo,best,hi\na,3,2,4\n", "not within"),
        ("name,best\na,2\n", "no table of labels"),
        ("stack,best\na,2\na,3\n", "twice"),
        ("best,stack\n2\n", "names no stack"),
    ],
)
def test_labels_that_do_not_fit_are_told_in_one_line(folder, tmp_path, capsys, text, told):
    known = labels(tmp_path / "labels.csv", text)
    code, _, error = run(capsys, "evaluate", folder, "--labels", known, "--scorer", "tenengrad")
    assert code == 2
    assert told in error
    assert error.count("\n") == 1
    assert "int()" not in error
    assert error.count("\n") == 1
