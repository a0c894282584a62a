"""The Microscope widget in a window, with the demo microscope."""

from __future__ import annotations

import gc
import threading
import time
import weakref

import numpy as np
import pytest
from qtpy.QtCore import QCoreApplication

pytest.importorskip("pymmcore_plus", reason="needs the extra 'acquire'")
pytest.importorskip("mm_test_adapters", reason="needs the extra 'acquire'")

from napari_focusstack.microscope import demo
from napari_focusstack.microscope.scene import DemoScene
from napari_focusstack.widgets.layers import stack_of


@pytest.fixture
def scene(monkeypatch):
    """A small field, on the slide of every demo microscope that is connected."""
    scene = DemoScene(field_px=(256, 256))
    monkeypatch.setattr(demo, "DemoScene", lambda: scene)
    return scene


@pytest.fixture
def viewer(make_napari_viewer):
    return make_napari_viewer()


@pytest.fixture
def widget(viewer, scene, qtbot):
    _, widget = viewer.window.add_plugin_dock_widget("napari-focusstack", "Microscope")
    yield widget
    widget.disconnect_rig()
    qtbot.waitUntil(lambda: not widget.leaving.busy, timeout=60_000)


@pytest.fixture
def connected(widget, qtbot):
    widget.connect_bar.run_button.click()
    qtbot.waitUntil(lambda: widget.rig is not None, timeout=60_000)
    return widget


def run(bar, qtbot):
    bar.run_button.click()
    qtbot.waitUntil(lambda: not bar.runner.busy, timeout=60_000)


def test_opening_connects_and_moves_nothing(widget, viewer):
    assert widget.rig is None
    assert len(viewer.layers) == 0
    for part in (widget.focus, widget.take, widget.scan):
        assert not part.isEnabled()


def test_connecting_shows_a_live_image_and_moves_nothing(connected, viewer, qtbot):
    qtbot.waitUntil(lambda: "live" in viewer.layers, timeout=60_000)
    first = viewer.layers["live"].data
    qtbot.waitUntil(lambda: viewer.layers["live"].data is not first, timeout=60_000)
    assert connected.rig.height_um() == 0
    assert tuple(viewer.layers["live"].scale) == pytest.approx((0.325, 0.325))
    connected.focus.live_box.setChecked(False)
    assert not connected.live.busy


def test_autofocus_shows_its_way_and_its_verdict(connected, scene, qtbot):
    run(connected.focus.bar, qtbot)
    assert abs(connected.rig.height_um() - scene.focus_um) <= scene.depth_of_field_um / 2
    assert "In focus at" in connected.focus.verdict.text()
    assert len(connected._steps) > 3
    assert connected.focus.track._ring.isVisible()


def test_a_z_stack_becomes_a_calibrated_layer_to_score_and_fuse(connected, viewer, scene, qtbot):
    run(connected.focus.bar, qtbot)
    connected.take.range_um.setValue(8)
    connected.take.step_um.setValue(2)
    assert not connected.take.score_button.isEnabled()
    run(connected.take.bar, qtbot)
    stack = stack_of(viewer.layers["z-stack"])
    assert stack.axes == "ZYX"
    assert stack.n_slices == 5
    assert stack.heights_um[2] == pytest.approx(connected.rig.height_um())
    assert stack.optics == scene.optics
    connected.focus.live_box.setChecked(False)
    connected.take.score_button.click()
    focus = viewer.window.dock_widgets["Focus (Focus Stack)"]
    qtbot.waitUntil(lambda: focus.scored is not None, timeout=60_000)
    assert focus.scored.report.decision.best == 2
    connected.take.fuse_button.click()
    fuse = viewer.window.dock_widgets["Fuse (Focus Stack)"]
    assert fuse.layer is viewer.layers["z-stack"]


def test_a_scan_becomes_a_mosaic_in_view_and_its_fields(connected, viewer, scene, qtbot):
    connected.scan.rows.setValue(1)
    camera = getattr(viewer, "scene", viewer).camera  # older ones keep it in the viewer
    camera.zoom = 40
    run(connected.scan.bar, qtbot)
    mosaic, fields = viewer.layers["mosaic"], viewer.layers["fields"]
    assert mosaic.data.shape[0] == 256
    assert 400 < mosaic.data.shape[1] < 512
    places = np.array(mosaic.metadata["napari_focusstack"]["places_um"])
    assert mosaic.translate == pytest.approx(places.min(axis=0))
    heights = mosaic.metadata["napari_focusstack"]["heights_um"]
    truth = [scene.focus_at(y, x) for y, x in places]
    assert np.abs(np.subtract(heights, truth)).max() <= scene.depth_of_field_um / 2
    shown = camera.zoom, camera.center
    viewer.reset_view()
    assert (camera.zoom, camera.center) == shown
    assert stack_of(fields).n_positions == 2
    first = stack_of(fields).plane(p=0)
    assert np.array_equal(first[:, :128], mosaic.data[:, :128])
    assert not fields.visible
    assert fields.metadata["napari_focusstack"]["places_um"] == places.tolist()


def test_after_a_scan_no_curve_stands_above_its_sentence(connected, qtbot):
    run(connected.focus.bar, qtbot)
    assert connected.focus.track.isVisibleTo(connected)
    connected.scan.rows.setValue(1)
    run(connected.scan.bar, qtbot)
    assert not connected.focus.track.isVisibleTo(connected)
    assert connected.focus.verdict.text() == ""
    assert connected.scan.verdict.text().startswith("2 of 2 fields, z from")


def test_the_live_image_of_a_job_lies_over_what_was_taken_before(connected, viewer, qtbot):
    qtbot.waitUntil(lambda: "live" in viewer.layers, timeout=60_000)
    run(connected.take.bar, qtbot)
    assert viewer.layers[-1].name != "live"
    run(connected.focus.bar, qtbot)
    assert viewer.layers[-1].name == "live"


def test_the_view_follows_the_live_image_through_a_scan(connected, viewer, qtbot):
    qtbot.waitUntil(lambda: "live" in viewer.layers, timeout=60_000)
    camera = getattr(viewer, "scene", viewer).camera  # older ones keep it in the viewer
    live, away, sights, heights = viewer.layers["live"], set(), set(), set()

    def look(_):
        away.add(tuple(np.round(np.subtract(camera.center[1:], live.translate), 2)))
        heights.add(connected.focus.height.text())
        sights.add((connected.focus.track.isVisibleTo(connected), connected.focus.verdict.text()))

    connected.scan.bar.runner.stepped.connect(look)
    run(connected.scan.bar, qtbot)
    assert len({tuple(place) for place in viewer.layers["mosaic"].metadata["napari_focusstack"]["places_um"]}) == 4
    assert len(away) == 1
    # The button that stops the scan stays in its place, too.
    assert sights == {(False, "")}
    assert len(heights) > 2


def test_a_field_that_is_lost_is_named_and_the_others_are_there(connected, viewer, qtbot, monkeypatch):
    connected.focus.live_box.setChecked(False)
    connected.scan.refocus_box.setChecked(False)
    fell, snap = [], connected.rig.core.snap

    def fails():
        # By the fields that are taken: an image that was live when the scan began may come first.
        so_far = connected._scanning.so_far if connected._scanning is not None else None
        if not fell and so_far is not None and len(so_far.cancelled().numbers) == 1:
            fell.append(True)
            raise RuntimeError("the camera fell off")
        return snap()

    monkeypatch.setattr(connected.rig.core, "snap", fails)
    run(connected.scan.bar, qtbot)
    told = connected.scan.verdict.text()
    assert told == "3 of 4 fields, z 0.0 µm. Field 2 was not taken: the camera fell off."
    assert stack_of(viewer.layers["fields"]).n_positions == 3


@pytest.mark.parametrize("leave", [False, True], ids=["cancel", "disconnect"])
def test_a_scan_that_is_cancelled_keeps_the_fields_that_it_took(connected, viewer, qtbot, monkeypatch, leave):
    connected.scan.refocus_box.setChecked(False)
    connected.scan.rows.setValue(1)
    connected.scan.columns.setValue(8)
    bar, done = connected.scan.bar, []
    left, snap = threading.Event(), connected.rig.snap

    def third_waits():
        so_far = connected._scanning.so_far if connected._scanning is not None else None
        if so_far is not None and len(so_far.cancelled().numbers) == 2:
            left.wait(60)
        return snap()

    monkeypatch.setattr(connected.rig, "snap", third_waits)

    def stop_after_two(step):
        done.append(step.done)
        if step.done == 2 and bar.runner.busy:
            (connected.disconnect_button if leave else bar.cancel_button).click()
            left.set()

    bar.runner.stepped.connect(stop_after_two)
    run(bar, qtbot)
    assert max(done) == 2
    assert viewer.layers["fields"].data.shape[0] == 2
    assert viewer.layers["mosaic"].data.shape == (256, viewer.layers["mosaic"].data.shape[1])
    told = connected.scan.verdict.text()
    assert told.startswith("2 of 8 fields")
    assert "it was cancelled after field 2 of 8" in told
    assert "6 of 8 fields were not taken (3 to 8): the scan was cancelled before." in told
    qtbot.wait(200)
    assert [layer.name for layer in viewer.layers].count("mosaic") == 1


def test_a_scan_that_fails_keeps_the_fields_that_it_took(connected, viewer, qtbot, notes, monkeypatch):
    connected.focus.live_box.setChecked(False)
    connected.scan.refocus_box.setChecked(False)
    connected.scan.rows.setValue(1)
    count, move = iter(range(99)), connected.rig.start_moving_xy

    def fails(*place):
        if next(count) == 2:  # on the way back
            raise RuntimeError("the cable fell off")
        move(*place)

    monkeypatch.setattr(connected.rig, "start_moving_xy", fails)
    run(connected.scan.bar, qtbot)
    assert stack_of(viewer.layers["fields"]).n_positions == 2
    told = connected.scan.verdict.text()
    assert told.startswith("2 of 2 fields")
    assert "the cable fell off" in told
    assert "cancelled" not in told


def test_a_field_whose_step_still_waits_at_cancel_is_kept(connected, viewer, qtbot):
    connected.focus.live_box.setChecked(False)
    connected.scan.refocus_box.setChecked(False)
    connected.scan.columns.setValue(8)
    connected.scan.bar.run_button.click()
    end = time.monotonic() + 60
    while connected._scanning.so_far is None and time.monotonic() < end:
        time.sleep(0.005)  # no events: no step arrives
    connected.scan.bar.cancel_button.click()
    assert stack_of(viewer.layers["fields"]).n_positions >= 1


def test_the_next_scan_does_not_show_what_a_cancelled_one_took(connected, viewer, qtbot, monkeypatch, go_on):
    connected.scan.refocus_box.setChecked(False)
    run(connected.scan.bar, qtbot)
    before, snap = len(viewer.layers), connected.rig.snap
    monkeypatch.setattr(connected.rig, "snap", lambda: (go_on.wait(60), snap())[1])
    go_on.clear()
    connected.scan.bar.run_button.click()
    connected.scan.bar.cancel_button.click()  # before its first field
    go_on.set()
    qtbot.wait(200)
    assert len(viewer.layers) == before
    assert connected.scan.verdict.text().startswith("Stopped before a field was taken")


def test_a_scan_of_z_stacks_can_be_scored_and_fused(connected, viewer, qtbot):
    connected.scan.rows.setValue(1)
    connected.scan.stacks_box.setChecked(True)
    connected.take.range_um.setValue(4)
    connected.take.step_um.setValue(2)
    run(connected.scan.bar, qtbot)
    assert stack_of(viewer.layers["fields"]).n_slices == 3
    assert connected.take.fuse_button.isEnabled()
    connected.take.fuse_button.click()
    assert viewer.window.dock_widgets["Fuse (Focus Stack)"].layer is viewer.layers["fields"]


@pytest.mark.parametrize("stacks", [False, True])
def test_images_are_shown_where_they_were_taken_and_only_workers_ask_the_stage(
    connected, viewer, qtbot, monkeypatch, stacks
):
    asked, place = [], connected.rig.place_um
    monkeypatch.setattr(connected.rig, "place_um", lambda: (asked.append(threading.current_thread()), place())[1])
    connected.scan.rows.setValue(1)
    connected.scan.stacks_box.setChecked(stacks)
    connected.take.range_um.setValue(4)
    connected.take.step_um.setValue(2)
    seen = set()
    connected.scan.bar.runner.stepped.connect(
        lambda _: seen.update([tuple(viewer.layers["live"].translate)] if "live" in viewer.layers else [])
    )
    run(connected.scan.bar, qtbot)
    run(connected.take.bar, qtbot)
    corner = viewer.layers["mosaic"].translate
    assert any(place == pytest.approx(corner, abs=0.1) for place in seen)
    assert viewer.layers["live"].data.ndim == 2
    assert asked
    assert threading.main_thread() not in asked


def test_cancel_stops_and_leaves_the_stage_where_it_is(connected, qtbot, monkeypatch, go_on):
    move, moves = connected.rig.start_moving, []

    def third_waits(height_um):  # by then, two images were taken at least
        move(height_um)
        moves.append(height_um)
        assert len(moves) < 3 or go_on.wait(60)

    monkeypatch.setattr(connected.rig, "start_moving", third_waits)
    stops = []
    stop = connected.rig.stop
    monkeypatch.setattr(connected.rig, "stop", lambda: (stops.append(1), stop()))
    go_on.clear()
    connected.focus.bar.run_button.click()
    qtbot.waitUntil(lambda: len(connected._steps) >= 2, timeout=60_000)
    connected.focus.bar.cancel_button.click()
    go_on.set()
    qtbot.waitUntil(lambda: bool(stops), timeout=60_000)
    assert not connected.rig.moving()
    assert connected.rig.limits_um[0] <= connected.rig.height_um() <= connected.rig.limits_um[1]
    assert "Stopped" in connected.focus.verdict.text()


def test_limits_in_x_and_y_are_taken_from_the_form(widget, qtbot, notes):
    assert widget.connection.wanted.x_limits_um is None
    widget.connection.xy_box.setChecked(True)
    for box, value in zip(("x_low", "x_high", "y_low", "y_high"), (-10, 20, -30, 40), strict=True):
        getattr(widget.connection, box).setValue(value)
    run(widget.connect_bar, qtbot)
    assert (widget.rig.x_limits_um, widget.rig.y_limits_um) == ((-10, 20), (-30, 40))
    run(widget.scan.bar, qtbot)
    assert any("lie beyond the travel limits" in note for note in notes)
    assert widget.rig.place_um() == (0, 0)


def test_a_configuration_is_not_connected_before_its_limits_are_given(widget, tmp_path, notes, qtbot, monkeypatch):
    monkeypatch.setattr("napari_focusstack.microscope.rig.connect", lambda *_, **__: pytest.fail("connected"))
    form = widget.connection
    assert form.wanted.limits_um == (-40, 40)
    form.choose(tmp_path / "mine.cfg")
    assert (form.low.text(), form.high.text()) == ("?", "?")
    form.low.stepBy(1)
    form.high.setValue(1260)
    assert form.wanted.limits_um is None
    run(widget.connect_bar, qtbot)
    assert widget.rig is None
    assert any("No travel limits were given" in note for note in notes)
    form.low.setValue(1200)
    form.choose(tmp_path / "mine.cfg")  # once more
    assert form.wanted.limits_um == (1200, 1260)
    form.choose(None)
    assert form.wanted.limits_um == (-40, 40)


def test_one_job_at_a_time(connected, qtbot):
    connected.scan.bar.run_button.click()
    assert not connected.focus.bar.run_button.isEnabled()
    assert not connected.take.bar.run_button.isEnabled()
    connected.scan.bar.cancel_button.click()
    assert connected.focus.bar.run_button.isEnabled()


def test_a_camera_that_fails_is_told(connected, scene, qtbot, notes, monkeypatch):
    connected.focus.live_box.setChecked(False)
    QCoreApplication.processEvents()

    def fail(*args, **kwargs):
        raise RuntimeError("the camera fell off")

    monkeypatch.setattr(scene, "image", fail)
    run(connected.focus.bar, qtbot)
    assert any("fell off" in note for note in notes)
    assert connected.rig.height_um() == 0


def test_a_stack_beyond_the_limits_is_refused_in_a_sentence(connected, notes, qtbot):
    connected.take.range_um.setValue(200)
    run(connected.take.bar, qtbot)
    assert any("nothing was moved" in note for note in notes)
    assert connected.rig.height_um() == 0


def test_a_configuration_that_can_t_be_loaded_is_told(widget, tmp_path, notes, qtbot):
    config = tmp_path / "mine.cfg"
    config.write_text("Device,Z,NoSuchAdapter,Stage\n")
    widget.connection.choose(config)
    assert widget.connection.lens.isVisibleTo(widget)
    widget.connection.low.setValue(1200)
    widget.connection.high.setValue(1260)
    run(widget.connect_bar, qtbot)
    assert widget.rig is None
    assert any("mine.cfg" in note for note in notes)


def test_closing_the_dock_lets_go_of_the_microscope(viewer, scene, qtbot):
    # Not by the fixture: pytest would keep the widget alive after napari has let it go.
    widget = viewer.window.add_plugin_dock_widget("napari-focusstack", "Microscope")[1]
    widget.connect_bar.run_button.click()
    gone = weakref.ref(widget)
    qtbot.waitUntil(lambda: gone().rig is not None, timeout=60_000)
    rig = widget.rig
    viewer.window.remove_dock_widget(widget)
    qtbot.waitUntil(lambda: rig.core.getLoadedDevices() == ("Core",), timeout=60_000)
    del widget

    def collected():
        gc.collect()
        return gone() is None

    qtbot.waitUntil(collected, timeout=60_000)


def test_disconnect_and_connect_again(connected, qtbot):
    connected.disconnect_button.click()
    assert connected.rig is None
    assert not connected.focus.isEnabled()
    qtbot.waitUntil(lambda: connected.connect_bar.isVisibleTo(connected), timeout=60_000)
    connected.connect_bar.run_button.click()
    qtbot.waitUntil(lambda: connected.rig is not None, timeout=60_000)


@pytest.mark.parametrize("close", [False, True])
def test_a_slow_image_does_not_hold_the_window_up_while_it_disconnects(viewer, scene, qtbot, monkeypatch, close):
    widget = viewer.window.add_plugin_dock_widget("napari-focusstack", "Microscope")[1]
    widget.connect_bar.run_button.click()
    qtbot.waitUntil(lambda: widget.rig is not None, timeout=60_000)
    rig, taking, release = widget.rig, threading.Event(), threading.Event()
    render = scene.image
    monkeypatch.setattr(scene, "image", lambda *a, **k: (taking.set(), release.wait(60), render(*a, **k))[2])
    qtbot.waitUntil(taking.is_set, timeout=60_000)
    if close:
        viewer.window.remove_dock_widget(widget)
    else:
        widget.disconnect_button.click()
    # Had it waited for the image, that would be taken by now.
    assert not release.is_set()
    assert rig.core.getLoadedDevices() != ("Core",)
    if not close:
        assert not widget.disconnect_button.isEnabled()
        assert not widget.connection.isEnabled()
    release.set()
    qtbot.waitUntil(lambda: rig.core.getLoadedDevices() == ("Core",), timeout=60_000)
    if not close:
        qtbot.waitUntil(lambda: widget.connection.isEnabled(), timeout=60_000)
