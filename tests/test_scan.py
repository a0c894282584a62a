"""Scans of the demo microscope: what was taken is kept, whatever happens to the rest."""

from __future__ import annotations

import dataclasses
import time
from types import SimpleNamespace

import numpy as np
import pytest

from napari_focusstack.core.autofocus import Focused
from napari_focusstack.core.progress import Progress, drain

pytest.importorskip("pymmcore_plus", reason="needs the extra 'acquire'")
pytest.importorskip("mm_test_adapters", reason="needs the extra 'acquire'")

from napari_focusstack.microscope import scan as scan_module
from napari_focusstack.microscope.acquire import z_plan
from napari_focusstack.microscope.demo import connect_demo
from napari_focusstack.microscope.rig import RigInfo, _turn
from napari_focusstack.microscope.scan import SoFar, grid_plan, scan
from napari_focusstack.microscope.scene import DemoScene

FIELD = (64, 64)


@pytest.fixture
def rig():
    rig = connect_demo(DemoScene(field_px=FIELD), start_um=2.0)
    yield rig
    rig.disconnect()


@pytest.fixture
def moves(rig, monkeypatch):
    """Every motion that the stages were told."""
    told = []
    core = rig.core
    z, xy = core.setPosition, core.setXYPosition
    monkeypatch.setattr(core, "setPosition", lambda *a: (told.append(a), z(*a)))
    monkeypatch.setattr(core, "setXYPosition", lambda *a: (told.append(a), xy(*a)))
    return told


def failing(call, at, error):
    """The call, which raises at its numbers `at`, counted from 0."""
    count = iter(range(10**6))

    def fails(*args, **kwargs):
        if next(count) in at:
            raise error
        return call(*args, **kwargs)

    return fails


@pytest.mark.parametrize("broken", range(4))
def test_a_field_whose_image_fails_is_left_out_and_named(rig, monkeypatch, broken):
    monkeypatch.setattr(rig.core, "snap", failing(rig.core.snap, {broken}, RuntimeError("the camera fell off")))
    before = rig.place_um(), rig.height_um()
    taken = drain(scan(rig, grid_plan(rig, rows=2, columns=2)))
    others = [k for k in range(4) if k != broken]
    assert taken.numbers == tuple(others)
    assert [(one.field, one.reason) for one in taken.lost] == [(broken, "the camera fell off")]
    assert taken.stack.data.shape == (3, *FIELD)
    assert len(taken.places_um) == len(taken.heights_um) == len(taken.notes) == len(taken.found) == 3
    assert taken.ended == ""
    assert (rig.place_um(), rig.height_um()) == (pytest.approx(before[0], abs=0.02), pytest.approx(before[1]))


def test_a_z_stack_that_breaks_off_leaves_the_next_field_at_its_height(rig, monkeypatch):
    # The second image of the second field.
    monkeypatch.setattr(rig.core, "snap", failing(rig.core.snap, {4}, RuntimeError("no image")))
    taken = drain(scan(rig, grid_plan(rig, rows=1, columns=3), plan=z_plan(4, 2)))
    assert taken.numbers == (0, 2)
    assert taken.stack.data.shape == (2, 3, *FIELD)
    assert taken.heights_um == pytest.approx(2.0)


def test_two_fields_in_a_row_that_fail_end_it_and_the_stages_go_back(rig, monkeypatch):
    monkeypatch.setattr(rig.core, "snap", failing(rig.core.snap, {1, 2}, RuntimeError("no image")))
    before = rig.place_um()
    taken = drain(scan(rig, grid_plan(rig, rows=1, columns=5)))
    assert taken.numbers == (0,)
    assert [one.field for one in taken.lost] == [1, 2, 3, 4]
    assert "field 3 of 5: no image" in taken.ended
    assert rig.place_um() == pytest.approx(before, abs=0.02)


def test_a_stage_that_fails_ends_it_and_nothing_moves_any_more(rig, monkeypatch, moves):
    told = rig.core.setXYPosition
    monkeypatch.setattr(rig.core, "setXYPosition", failing(told, {1}, RuntimeError("port closed")))
    stops = []
    monkeypatch.setattr(rig, "stop", lambda: stops.append(len(moves)))
    taken = drain(scan(rig, grid_plan(rig, rows=1, columns=3)))
    assert taken.numbers == (0,)
    assert [one.field for one in taken.lost] == [1, 2]
    assert "port closed" in taken.ended
    assert stops == [len(moves)]


def test_a_focus_that_fails_costs_its_field(rig):
    fields = iter(range(3))

    def focus():
        yield Progress(0, 1)
        if next(fields) == 1:
            raise ValueError("the network fell ill")
        return Focused("test", True, 2.0, 2.0, 0.0, "", ())

    taken = drain(scan(rig, grid_plan(rig, rows=1, columns=3), focus=focus))
    assert taken.numbers == (0, 2)
    assert taken.lost[0].reason == "the network fell ill"


def test_what_was_taken_is_kept_though_the_stage_does_not_come_back(rig, monkeypatch):
    back = 2  # after the two fields
    told = rig.core.setXYPosition
    monkeypatch.setattr(rig.core, "setXYPosition", failing(told, {back}, RuntimeError("port closed")))
    taken = drain(scan(rig, grid_plan(rig, rows=1, columns=2)))
    assert taken.numbers == (0, 1)
    assert taken.lost == ()
    assert "did not go back" in taken.ended
    assert "port closed" in taken.ended


def test_a_stage_that_arrived_while_nobody_took_the_steps_is_not_late(rig, monkeypatch):
    seconds, asked = [0.0], []
    monkeypatch.setattr(scan_module, "time", SimpleNamespace(monotonic=lambda: seconds[0], sleep=time.sleep))

    def moving_once():
        asked.append(rig.place_um())
        while rig.core.deviceBusy(rig.core.getXYStageDevice()):
            time.sleep(0.005)
        return len(asked) % 2 == 1

    monkeypatch.setattr(rig, "moving_xy", moving_once)

    def stopped_for_an_hour(step):
        seconds[0] += 3600

    taken = drain(scan(rig, grid_plan(rig, rows=1, columns=2)), stopped_for_an_hour)
    assert taken.numbers == (0, 1)
    assert taken.ended == ""


@pytest.mark.parametrize("error", [OSError("port closed"), ValueError("port closed"), RuntimeError("port closed")])
def test_whatever_a_driver_raises_on_the_way_back_what_was_taken_is_kept(rig, monkeypatch, error):
    told = rig.core.setXYPosition
    monkeypatch.setattr(rig.core, "setXYPosition", failing(told, {2}, error))
    stopped = []

    def stop(stage):
        stopped.append(stage)
        raise error

    monkeypatch.setattr(rig.core, "stop", stop)
    taken = drain(scan(rig, grid_plan(rig, rows=1, columns=2)))
    assert taken.numbers == (0, 1)
    assert "did not go back" in taken.ended
    assert "port closed" in taken.ended
    assert stopped == [rig.core.getFocusDevice(), rig.core.getXYStageDevice()]


def test_whatever_a_stage_raises_between_two_fields_ends_it_and_nothing_moves(rig, monkeypatch, moves):
    told = rig.core.setXYPosition
    monkeypatch.setattr(rig.core, "setXYPosition", failing(told, {1}, OSError("port closed")))
    taken = drain(scan(rig, grid_plan(rig, rows=1, columns=4)))
    assert taken.numbers == (0,)
    assert "port closed" in taken.ended
    assert len([move for move in moves if len(move) == 2 and not isinstance(move[0], str)]) == 1


def test_fields_that_were_not_taken_are_summed_up_by_reason(rig, monkeypatch):
    monkeypatch.setattr(rig.core, "snap", failing(rig.core.snap, {1, 3}, RuntimeError("no image")))
    taken = broken_off(scan(rig, grid_plan(rig, rows=4, columns=10)), fields=5)
    assert taken.missed(first=1) == [
        "2 of 40 fields were not taken (2, 4): no image",
        "35 of 40 fields were not taken (6 to 40): the scan was cancelled before",
    ]
    one = dataclasses.replace(taken, lost=taken.lost[:1])
    assert one.missed(first=0) == ["Field 1 was not taken: no image"]


def broken_off(job, fields):
    """What is left of a scan that is closed after so many fields, while it goes on to the next one."""
    kept, after = [], 0
    for step in job:
        kept += [step.partial] if isinstance(step.partial, SoFar) else []
        after += len(kept) == fields
        if after == 2:
            job.close()
    return kept[-1].cancelled()


@pytest.mark.parametrize("plan", [None, (4, 2)], ids=["images", "z-stacks"])
def test_a_scan_that_is_cancelled_leaves_what_it_took(rig, monkeypatch, moves, plan):
    stops = []
    monkeypatch.setattr(rig, "stop", lambda: stops.append(len(moves)))
    plan = None if plan is None else z_plan(*plan)
    whole = drain(scan(rig, grid_plan(rig, rows=1, columns=4), plan=plan))
    taken = broken_off(scan(rig, grid_plan(rig, rows=1, columns=4), plan=plan), fields=2)
    assert taken.numbers == (0, 1)
    assert taken.stack.axes == whole.stack.axes
    assert taken.stack.data.shape == (2, *whole.stack.data.shape[1:])
    assert taken.places_um == pytest.approx(whole.places_um[:2], abs=0.02)
    assert [one.field for one in taken.lost] == [2, 3]
    assert taken.ended == "it was cancelled after field 2 of 4"
    assert "cancelled" in taken.lost[0].reason
    assert taken.mosaic().plane_shape == (FIELD[0], 2 * FIELD[1])
    assert stops == [len(moves)]  # nothing moved any more


def test_a_cancelled_scan_names_the_fields_that_had_failed_before(rig, monkeypatch):
    monkeypatch.setattr(rig.core, "snap", failing(rig.core.snap, {1}, RuntimeError("no image")))
    taken = broken_off(scan(rig, grid_plan(rig, rows=1, columns=4)), fields=2)
    assert taken.numbers == (0,)
    assert [one.field for one in taken.lost] == [1, 2, 3]
    assert taken.lost[0].reason == "no image"
    assert taken.ended == "it was cancelled after field 2 of 4"


def test_where_no_field_was_taken_the_error_is_raised(rig, monkeypatch):
    monkeypatch.setattr(rig.core, "snap", failing(rig.core.snap, {0}, RuntimeError("no image")))
    with pytest.raises(RuntimeError, match="no image"):
        drain(scan(rig, grid_plan(rig, rows=1, columns=1)))


@pytest.mark.parametrize(
    "turn",
    [((1.0, 0.0), (0.0, 1.0)), ((0.0, -1.0), (1.0, 0.0)), ((-1.0, 0.0), (0.0, 1.0)), ((0.8, 0.6), (-0.6, 0.8))],
    ids=["as the stage", "turned by a quarter", "mirrored", "turned a little"],
)
def test_the_mosaic_of_a_turned_camera_is_that_of_a_straight_one(monkeypatch, turn):
    """The scene lies along the camera's axes, and the stage along others: the picture is the same."""
    scene = DemoScene(field_px=FIELD, tilt=(0.0, 0.0))
    straight = connect_demo(scene)
    expected = drain(scan(straight, grid_plan(straight, rows=2, columns=3, overlap_percent=25))).mosaic()
    straight.disconnect()
    rig = connect_demo(scene)
    rig.info = RigInfo(rig.info.name, rig.info.optics, rig.info.pixel_um, rig.info.toward, turn)
    render = scene.image
    monkeypatch.setattr(
        scene,
        "image",
        lambda z, *, y_um, x_um: render(z, **dict(zip(("y_um", "x_um"), rig.info.seen((y_um, x_um)), strict=True))),
    )
    taken = drain(scan(rig, grid_plan(rig, rows=2, columns=3, overlap_percent=25)))
    rig.disconnect()
    mosaic = taken.mosaic()
    assert np.abs(np.subtract(mosaic.plane_shape, expected.plane_shape)).max() <= 2
    rows, columns = np.minimum(mosaic.plane_shape, expected.plane_shape)
    a, b = (m.data[4 : rows - 4, 4 : columns - 4].astype(float).ravel() for m in (mosaic, expected))
    assert np.corrcoef(a, b)[0, 1] > 0.9


def test_the_cameras_turn_is_read_from_the_affine_transform():
    quarter = RigInfo("", None, 0.5, 1, _turn((0.0, -0.5, 0.0, 0.5, 0.0, 0.0), 0.5))
    # What is seen 2 µm to the right is centred by a motion along the stage's y.
    assert quarter.moved((0.0, 2.0)) == pytest.approx((2.0, 0.0))
    assert quarter.moved((3.0, 0.0)) == pytest.approx((0.0, -3.0))
    assert quarter.seen(quarter.moved((1.0, 7.0))) == pytest.approx((1.0, 7.0))


@pytest.mark.parametrize("affine", [(1.0, 0, 0, 0, 1.0, 0), (0.0,) * 6])
def test_an_affine_transform_that_was_never_measured_is_not_believed(affine):
    assert _turn(affine, 0.325) == ((1.0, 0.0), (0.0, 1.0))
