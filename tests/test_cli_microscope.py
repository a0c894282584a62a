"""`focusstack autofocus` and `focusstack scan` on the demo microscope."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

from napari_focusstack.cli import main
from napari_focusstack.io.read import read_stack

pytest.importorskip("pymmcore_plus", reason="needs the extra 'acquire'")
pytest.importorskip("mm_test_adapters", reason="needs the extra 'acquire'")

from napari_focusstack.microscope import demo
from napari_focusstack.microscope.rig import Rig


@pytest.fixture
def run(capsys, monkeypatch):
    """Run a command; return its exit code and what it printed on standard output and error."""
    monkeypatch.setattr("signal.signal", lambda *_: None)

    def run(*arguments):
        with pytest.raises(SystemExit) as end:
            main([str(a) for a in arguments])
        out, err = capsys.readouterr()
        return int(end.value.code or 0), out, err

    return run


def test_autofocus_says_where_and_how(run):
    code, out, err = run("autofocus", "--demo", "--start", "-12", "--json")
    told = json.loads(out)
    assert (code, err) == (0, "")
    assert told["found"]
    assert told["method"] == "spectra"
    assert told["start_um"] == pytest.approx(-12)
    assert abs(told["z_um"] - 8) < told["depth_of_field_um"] / 2
    low, high = told["likely_um"]
    assert low <= told["z_um"] <= high
    assert high - low < 3 * told["depth_of_field_um"]
    assert told["images"] == len(told["steps"]) <= 20
    assert {"seconds", "z_um", "phase", "value"} <= set(told["steps"][0])
    assert all(-40 <= step["z_um"] <= 40 for step in told["steps"])


def test_focus_beyond_the_limits_is_a_failure_and_the_stage_goes_back(run):
    code, out, _ = run("autofocus", "--demo", "--limits", "-20", "3", "--json")
    told = json.loads(out)
    assert code == 1
    assert not told["found"]
    assert told["limits_um"] == [-20, 3]
    assert told["z_um"] == told["start_um"]


def test_it_takes_a_stack_around_focus(run, tmp_path):
    path = tmp_path / "stack.ome.tif"
    code, out, _ = run("autofocus", "--demo", "--stack", path, "--range", 6, "--step", 1.5)
    assert code == 0
    assert "in focus at" in out
    stack = read_stack(path)
    assert stack.n_slices == 5
    assert (stack.z_um, stack.x_um) == (pytest.approx(1.5), pytest.approx(0.325))
    assert run("autofocus", "--demo", "--stack", path)[0] == 2  # never over a file that is there


@pytest.mark.parametrize(
    ("plan", "says"),
    [
        (["--range", "-6"], "a range of one step or more"),
        (["--range", 6, "--step", 0], "a step above 0"),
        (["--range", 6, "--step", -1], "a step above 0"),
        (["--range", 6, "--step", 7], "a range of one step or more"),
    ],
)
@pytest.mark.parametrize("command", ["autofocus", "scan"])
def test_what_is_no_z_stack_is_refused_before_a_microscope_is_connected(
    run, tmp_path, monkeypatch, command, plan, says
):
    monkeypatch.setattr(demo, "connect_demo", lambda *_, **__: pytest.fail("connected"))
    path = tmp_path / "stack.ome.tif"
    where = ["--stack", path] if command == "autofocus" else ["-o", path, "--z-stacks"]
    code, out, err = run(command, "--demo", *where, *plan)
    assert (code, out) == (2, "")
    assert says in err


@pytest.mark.parametrize("command", ["autofocus", "scan"])
def test_a_z_stack_longer_than_the_travel_is_refused_before_anything_moves(run, tmp_path, monkeypatch, command):
    monkeypatch.setattr(Rig, "start_moving", lambda *_: pytest.fail("moved"))
    path = tmp_path / "stack.ome.tif"
    where = ["--stack", path] if command == "autofocus" else ["-o", path, "--z-stacks"]
    code, out, err = run(command, "--demo", "--start", -12, *where, "--range", 90)
    assert (code, out) == (2, "")
    assert "does not fit" in err


def test_the_measure_of_the_search_can_be_chosen(run):
    code, out, _ = run("autofocus", "--demo", "--method", "brent", "--measure", "brenner", "--json")
    assert code == 0
    assert json.loads(out)["method"] == "brent"


def test_where_focus_is_is_said_though_the_z_stack_leaves_the_limits(run, tmp_path):
    path = tmp_path / "stack.ome.tif"
    code, out, err = run("autofocus", "--demo", "--limits", -20, 15, "--stack", path, "--range", 30, "--json")
    assert code == 2
    assert json.loads(out)["found"]
    assert "output" not in json.loads(out)
    assert "beyond the travel limits" in err
    assert not path.exists()


def test_the_users_own_image_can_lie_on_the_slide(run, tmp_path):
    image = np.random.default_rng(0).integers(0, 255, (300, 300), np.uint8)
    cv2.imwrite(str(tmp_path / "sharp.png"), image)
    code, out, _ = run("autofocus", "--demo", "--specimen", tmp_path / "sharp.png", "--json")
    assert code == 0
    assert json.loads(out)["found"]


def test_a_scan_writes_its_fields_and_their_mosaic(run, tmp_path):
    where = ["-o", tmp_path / "scan.ome.tif", "--mosaic", tmp_path / "mosaic.ome.tif"]
    code, out, err = run("scan", "--demo", "--rows", 1, "--columns", 2, *where, "--json")
    assert (code, err) == (0, "")
    told = json.loads(out)
    assert [f["in_focus"] for f in told["fields"]] == [True, True]
    assert [read_stack(f["output"]).plane_shape for f in told["fields"]] == [(512, 512)] * 2
    assert read_stack(told["mosaic"]).plane_shape[1] > 900


@pytest.mark.parametrize(
    ("there", "mosaic", "says"),
    [("scan_p1.ome.tif", "mosaic.tif", "exists already"), ("other.tif", "scan_p0.ome.tif", "same name")],
)
def test_files_that_a_scan_could_not_write_are_told_before_it(run, tmp_path, monkeypatch, there, mosaic, says):
    monkeypatch.setattr(demo, "connect_demo", lambda *_, **__: pytest.fail("connected"))
    (tmp_path / there).touch()
    where = ["-o", tmp_path / "scan.ome.tif", "--mosaic", tmp_path / mosaic]
    code, out, err = run("scan", "--demo", "--no-refocus", "--rows", 1, "--columns", 2, *where)
    assert (code, out) == (2, "")
    assert says in err


def test_people_read_of_fields_from_1_on_with_the_files_beside(run, tmp_path):
    where = ["-o", tmp_path / "scan.ome.tif"]
    code, out, _ = run("scan", "--demo", "--no-refocus", "--rows", 1, "--columns", 2, *where)
    assert code == 0
    first, second, *_ = out.splitlines()
    assert first.startswith("field 1 (scan_p0.ome.tif): y ")
    assert second.startswith("field 2 (scan_p1.ome.tif): y ")


def test_a_scan_that_loses_a_field_writes_the_others_and_says_so(run, tmp_path, monkeypatch):
    count, snap = iter(range(99)), Rig.snap

    def fails(rig):
        if next(count) == 1:
            raise RuntimeError("the camera fell off")
        return snap(rig)

    monkeypatch.setattr(Rig, "snap", fails)
    where = ["-o", tmp_path / "scan.ome.tif"]
    code, out, err = run("scan", "--demo", "--no-refocus", "--rows", 1, "--columns", 3, *where, "--json")
    told = json.loads(out)
    assert code == 1
    assert [f["field"] for f in told["fields"]] == [0, 2]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["scan_p0.ome.tif", "scan_p2.ome.tif"]
    assert [(one["field"], one["reason"]) for one in told["lost"]] == [(1, "the camera fell off")]
    assert err == "field 2 was not taken: the camera fell off\n"


def test_a_scan_that_is_stopped_by_ctrl_c_writes_what_it_took(run, tmp_path, monkeypatch):
    count, snap, stopped = iter(range(99)), Rig.snap, []

    def interrupted(rig):
        if next(count) == 2:
            raise KeyboardInterrupt
        return snap(rig)

    stop = Rig.stop
    monkeypatch.setattr(Rig, "snap", interrupted)
    monkeypatch.setattr(Rig, "stop", lambda rig: (stopped.append(True), stop(rig)))
    where = ["-o", tmp_path / "scan.ome.tif", "--mosaic", tmp_path / "mosaic.ome.tif"]
    code, out, err = run("scan", "--demo", "--no-refocus", "--rows", 1, "--columns", 4, *where, "--json")
    told = json.loads(out)
    assert code == 130
    assert stopped
    assert [f["field"] for f in told["fields"]] == [0, 1]
    assert [one["field"] for one in told["lost"]] == [2, 3]
    assert told["ended"] == "it was cancelled after field 2 of 4"
    written = sorted(p.name for p in tmp_path.iterdir())
    assert written == ["mosaic.ome.tif", "scan_p0.ome.tif", "scan_p1.ome.tif"]
    assert "it was cancelled" in err
    assert err.endswith("focusstack: stopped\n")


def test_a_scan_that_is_stopped_before_its_first_field_writes_nothing(run, tmp_path, monkeypatch):
    def interrupted(rig):
        raise KeyboardInterrupt

    monkeypatch.setattr(Rig, "snap", interrupted)
    code, out, err = run("scan", "--demo", "--no-refocus", "-o", tmp_path / "scan.ome.tif")
    assert (code, out, err) == (130, "", "focusstack: stopped\n")
    assert not list(tmp_path.iterdir())


def test_a_scan_beyond_its_limits_in_x_and_y_is_refused(run, tmp_path):
    where = ["-o", tmp_path / "scan.ome.tif"]
    code, out, err = run("scan", "--demo", "--x-limits", -10, 10, "--y-limits", -500, 500, *where)
    assert (code, out) == (2, "")
    assert "x from -10 to 10 µm" in err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "--demo"),
        (["--demo", "--config", "x.cfg"], "--demo"),
        (["--config", "x.cfg"], "--limits LOW HIGH"),
        (["--config", "x.cfg", "--limits", "-5", "5"], "no configuration"),
        (["--demo", "--limits", "5", "-5"], "lower first"),
        (["--demo", "--start", "90"], "would go to 90.0 µm, beyond the travel limits"),
        (["--demo", "--method", "magic"], "choose one of spectra, brent"),
        (["--demo", "--measure", "magic"], "magic"),
        (["--demo", "--measure", "brenner"], "'spectra' uses none"),
        (["--demo", "--toward", "up"], "--toward up was given: the demo microscope has its own"),
        (["--demo", "--toward", "left"], "--toward left was given: the demo microscope has its own"),
        (["--demo", "--na", "0.5"], "--na 0.5 was given"),
        (["--demo", "--wavelength", "0.5"], "--wavelength 0.5 was given"),
        (["--demo", "--pixel-size", "0.5"], "--pixel-size 0.5 was given"),
        (["--config", "x.cfg", "--limits", "-5", "5", "--specimen", "y.png"], "that is for --demo"),
        (["--config", "x.cfg", "--limits", "-5", "5", "--toward", "left"], "up or down"),
        (["--demo", "--range", "9"], "without --stack"),
        (["--demo", "--step", "1"], "without --stack"),
    ],
)
def test_what_can_t_be_done_is_said_in_a_line(run, arguments, says):
    code, out, err = run("autofocus", *arguments)
    assert (code, out) == (2, "")
    assert says in err
    assert len(err.splitlines()) == 1
