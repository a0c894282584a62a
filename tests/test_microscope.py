"""The demo microscope, driven as any other: autofocus, z-stacks, scans, and what happens when something fails."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from napari_focusstack import score
from napari_focusstack.core.autofocus import Focused, LoopSettings, StageError
from napari_focusstack.core.autofocus.methods import focus_methods
from napari_focusstack.core.errors import InputError
from napari_focusstack.core.progress import Progress, drain
from napari_focusstack.core.stack import Optics

pytest.importorskip("pymmcore_plus", reason="needs the extra 'acquire'")
adapters = pytest.importorskip("mm_test_adapters", reason="needs the extra 'acquire'")

from napari_focusstack.microscope import acquire  # noqa: E402
from napari_focusstack.microscope.autofocus import autofocus  # noqa: E402
from napari_focusstack.microscope.demo import connect_demo  # noqa: E402
from napari_focusstack.microscope.rig import connect  # noqa: E402
from napari_focusstack.microscope.scan import grid_plan, scan  # noqa: E402
from napari_focusstack.microscope.scene import DemoScene  # noqa: E402

METHOD = focus_methods()["spectra"]
CONFIG = Path(adapters.__file__).parent / "libs" / "MMConfig_demo.cfg"
FIELD = (256, 256)


@pytest.fixture
def scene():
    return DemoScene(field_px=FIELD)


@pytest.fixture
def rig(scene):
    rig = connect_demo(scene, start_um=-3.0)
    yield rig
    rig.disconnect()


@pytest.fixture
def moves(rig, monkeypatch):
    """Every height that the stage was sent to."""
    told = []
    move = rig.core.setPosition
    monkeypatch.setattr(rig.core, "setPosition", lambda z: (told.append(z), move(z)))
    return told


def test_importing_moves_nothing_and_needs_no_micro_manager():
    code = (
        "import sys, napari_focusstack.microscope.rig, napari_focusstack.microscope.demo\n"
        "assert not [m for m in sys.modules if m.startswith('pymmcore')]"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_image_is_sharpest_where_the_scene_says(rig, scene):
    values = []
    heights = scene.focus_um + np.array([-6.0, -3, 0, 3, 6])
    for z in heights:
        drain(acquire.go_to(rig, float(z)))
        values.append(float(np.var(rig.snap().astype(float))))
    assert int(np.argmax(values)) == 2


@pytest.mark.parametrize("method", ["spectra", "brent"])
@pytest.mark.parametrize("start", [-30.0, 0.0, 7.0, 33.0])
def test_autofocus_ends_within_the_depth_of_field(scene, rig, start, moves, method):
    drain(acquire.go_to(rig, start))
    found = drain(autofocus(rig, focus_methods()[method]))
    assert found.found
    assert abs(rig.height_um() - scene.focus_um) <= scene.depth_of_field_um / 2
    assert min(moves) >= rig.limits_um[0]
    assert max(moves) <= rig.limits_um[1]


def test_autofocus_of_an_empty_slide_leaves_the_stage_where_it_stood():
    rig = connect_demo(DemoScene(np.zeros((300, 300)), field_px=FIELD), start_um=4.0)
    found = drain(autofocus(rig, METHOD))
    assert not found.found
    assert rig.height_um() == pytest.approx(4.0)
    rig.disconnect()


def test_the_limits_can_t_be_passed(rig, moves):
    rig.limits_um = (-10.0, 10.0)
    with pytest.raises(StageError, match="beyond"):
        rig.start_moving(10.01)
    for job in (acquire.go_to(rig, -11), acquire.z_stack(rig, acquire.z_plan(20, 1))):
        with pytest.raises(InputError, match="nothing was moved"):
            drain(job)
    assert moves == []


@pytest.mark.parametrize("limits", [{"y_limits_um": (-5.0, 200.0)}, {"x_limits_um": (-200.0, 30.0)}])
def test_the_limits_in_x_and_y_can_t_be_passed(scene, limits, monkeypatch):
    rig = connect_demo(scene, **limits)
    told = []
    monkeypatch.setattr(rig.core, "setXYPosition", lambda *place: told.append(place))
    with pytest.raises(StageError, match="beyond the travel limits"):
        rig.start_moving_xy(-50.0, 50.0)
    with pytest.raises(InputError, match=r"\d places of the scan lie beyond"):
        drain(scan(rig, grid_plan(rig, rows=4, columns=4 if "x_limits_um" in limits else 1)))
    assert told == []
    rig.start_moving_xy(0.0, 0.0)
    assert told == [(0.0, 0.0)]
    with pytest.raises(InputError, match="lower first"):
        rig.y_limits_um = (3.0, -3.0)
    rig.disconnect()


def test_a_scan_near_a_limit_shifts_the_stack_of_that_field_says_so_and_goes_on(rig, scene, moves):
    grid, plan = grid_plan(rig, rows=1, columns=2), acquire.z_plan(6, 1)
    truth = [scene.focus_at(0, x) for x in (-rig.field_um[1] / 2, rig.field_um[1] / 2)]
    rig.limits_um = (-20.0, max(truth) + 2.5)
    taken = drain(scan(rig, grid, focus=lambda: autofocus(rig, METHOD), plan=plan))
    assert taken.stack.data.shape == (2, 7, *FIELD)
    shifted = [height > rig.limits_um[1] - 3 - 1e-9 for height in taken.heights_um]
    assert any(shifted)
    assert [bool(note) for note in taken.notes] == shifted
    assert "to stay within the limits" in "".join(taken.notes)
    assert max(moves) <= rig.limits_um[1]


def test_a_scan_goes_on_from_a_field_without_focus_and_says_why(rig):
    fields = iter((False, True))

    def focus():
        yield Progress(0, 1)
        found = next(fields)
        return Focused("test", found, 0.0, 0.0, 0.0, "" if found else "nothing to focus on", ())

    taken = drain(scan(rig, grid_plan(rig, rows=1, columns=2), focus=focus))
    assert taken.found == (False, True)
    assert taken.notes == ("focus not found: nothing to focus on", "")


def test_a_z_stack_longer_than_the_travel_is_refused_before_anything_moves(rig, moves):
    rig.limits_um = (-4.0, 4.0)
    with pytest.raises(InputError, match="does not fit"):
        drain(scan(rig, grid_plan(rig, rows=1, columns=2), plan=acquire.z_plan(10, 1)))
    assert moves == []


@pytest.mark.parametrize(
    ("job", "images"),
    [
        (lambda rig: scan(rig, grid_plan(rig, rows=2, columns=3)), 6),
        (
            lambda rig: scan(rig, grid_plan(rig, rows=2, columns=1), plan=acquire.z_plan(4, 1)),
            10,
        ),
        (lambda rig: acquire.z_stack(rig, acquire.z_plan(6, 1)), 7),
    ],
    ids=["scan", "scan of z-stacks", "z-stack"],
)
def test_images_that_do_not_fit_into_memory_are_refused_before_anything_moves(rig, moves, monkeypatch, job, images):
    memory = SimpleNamespace(available=2 * images * rig.snap().nbytes - 1)
    monkeypatch.setattr(acquire.psutil, "virtual_memory", lambda: memory)
    monkeypatch.setattr(rig.core, "setXYPosition", lambda *place: moves.append(place))
    with pytest.raises(InputError, match=f"^{images} images take .* nothing was moved"):
        drain(job(rig))
    assert moves == []


def test_a_stage_that_stopped_a_hair_beyond_its_limit_stands_at_it(rig, monkeypatch):
    monkeypatch.setattr(rig, "height_um", lambda: rig.limits_um[1] + 0.01)
    assert rig.travel().start_um == rig.limits_um[1]


def test_a_scan_from_outside_the_limits_is_refused_before_anything_moves(rig, moves, monkeypatch):
    monkeypatch.setattr(rig.core, "setXYPosition", lambda *place: moves.append(place))
    rig.limits_um = (0.0, 10.0)
    with pytest.raises(InputError, match="outside the travel limits"):
        drain(scan(rig, grid_plan(rig, rows=1, columns=2)))
    assert moves == []


def test_a_scan_from_a_hair_beyond_the_limits_goes_back_to_the_limit(rig):
    rig.limits_um = (-20.0, rig.height_um() - 0.01)
    taken = drain(scan(rig, grid_plan(rig, rows=1, columns=2)))
    assert len(taken.heights_um) == 2
    assert rig.height_um() == pytest.approx(rig.limits_um[1])


@pytest.mark.parametrize(
    "job",
    [
        lambda rig: autofocus(rig, METHOD),
        lambda rig: acquire.go_to(rig, 5.0),
        lambda rig: acquire.z_stack(rig, acquire.z_plan(4, 1)),
    ],
    ids=["autofocus", "go_to", "z_stack"],
)
def test_a_stage_outside_its_limits_is_not_moved(rig, moves, job):
    rig.limits_um = (0.0, 10.0)
    with pytest.raises(InputError, match="the travel limits"):
        drain(job(rig))
    assert moves == []


def test_a_camera_that_raises_leaves_the_stage_stopped_within_its_limits(rig, scene, monkeypatch):
    render, calls = scene.image, iter(range(100))

    def fail(*args, **kwargs):
        if next(calls) == 4:
            raise RuntimeError("the camera fell off")
        return render(*args, **kwargs)

    monkeypatch.setattr(scene, "image", fail)
    stops = []
    monkeypatch.setattr(rig, "stop", lambda: stops.append(rig.height_um()))
    with pytest.raises(Exception, match="fell off"):
        drain(autofocus(rig, METHOD))
    assert len(stops) == 1
    assert not rig.moving()
    assert rig.limits_um[0] <= rig.height_um() <= rig.limits_um[1]


def test_a_stage_that_stalls_is_stopped(rig, monkeypatch):
    monkeypatch.setattr(rig.core, "deviceBusy", lambda label: True)
    stops = []
    monkeypatch.setattr(rig.core, "stop", stops.append)
    with pytest.raises(StageError, match="did not reach"):
        drain(autofocus(rig, METHOD, settings=LoopSettings(move_timeout_s=0.05)))
    assert "Z" in stops


@pytest.mark.parametrize("seed", range(6))
def test_cancel_at_a_random_moment_stops_all_jobs(rig, seed, monkeypatch):
    stops = []
    monkeypatch.setattr(rig.core, "stop", stops.append)
    grid = grid_plan(rig, rows=2, columns=2)
    slow = focus_methods()["brent"]  # others may have ended before the moment comes
    jobs = (
        autofocus(rig, slow),
        scan(rig, grid, focus=lambda: autofocus(rig, slow)),
        acquire.z_stack(rig, acquire.z_plan(10, 1)),
    )
    rng = np.random.default_rng(seed)
    for job in jobs:
        stops.clear()
        for _ in range(int(rng.integers(1, 8))):
            next(job)
        job.close()
        assert "Z" in stops
        assert not rig.moving()
        assert rig.limits_um[0] <= rig.height_um() <= rig.limits_um[1]
    with rig.held():
        pass  # every job has let go


def test_a_z_stack_is_calibrated_and_sharpest_in_its_middle(rig, scene):
    drain(acquire.go_to(rig, scene.focus_um))
    stack = drain(acquire.z_stack(rig, acquire.z_plan(12, 2)))
    assert stack.axes == "ZYX"
    assert stack.data.shape == (7, *FIELD)
    assert (stack.z_um, stack.y_um) == (2, scene.settings.pixel_um)
    assert stack.heights_um == pytest.approx(scene.focus_um + np.arange(-6.0, 7, 2))
    assert stack.optics == scene.optics
    assert rig.height_um() == pytest.approx(scene.focus_um)
    assert score(stack).decision.best == 3


def test_a_scan_refocuses_at_each_field_and_goes_back(rig, scene):
    before = rig.place_um(), rig.height_um()
    taken = drain(scan(rig, grid_plan(rig, rows=2, columns=3), focus=lambda: autofocus(rig, METHOD)))
    truth = [scene.focus_at(y, x) for y, x in taken.places_um]
    assert taken.found == (True,) * 6
    assert np.ptp(truth) > 2 * scene.depth_of_field_um / 2
    assert np.abs(taken.heights_um - truth).max() <= scene.depth_of_field_um / 2
    assert (rig.place_um(), rig.height_um()) == (pytest.approx(before[0], abs=0.02), pytest.approx(before[1]))
    assert taken.stack.axes == "PYX"


def test_the_mosaic_puts_the_fields_where_the_stage_saw_them(rig, scene):
    taken = drain(scan(rig, grid_plan(rig, rows=1, columns=2, overlap_percent=25)))
    mosaic = taken.mosaic()
    height, width = mosaic.plane_shape
    assert height == FIELD[0]
    assert abs(width - 1.75 * FIELD[1]) <= 1
    seam = mosaic.data[:, FIELD[1] - 8 : FIELD[1] + 8].astype(float)
    jump = np.abs(np.diff(seam, axis=1)).mean(axis=0)
    assert jump[7] < 3 * np.median(jump)


def test_a_scan_can_take_a_z_stack_of_each_field(rig):
    taken = drain(scan(rig, grid_plan(rig, rows=1, columns=2), plan=acquire.z_plan(4, 2)))
    assert taken.stack.axes == "PZYX"
    assert taken.stack.data.shape == (2, 3, *FIELD)


def test_any_micro_manager_configuration_is_driven_by_the_same_code():
    optics = Optics(na=0.75, wavelength_um=0.55)
    rig = connect(CONFIG, limits_um=(-5, 5), optics=optics)
    try:
        found = drain(autofocus(rig, METHOD))
        assert -5 <= rig.height_um() <= 5
        assert len(found.steps) > 3
        assert drain(acquire.z_stack(rig, acquire.z_plan(2, 1))).n_slices == 3
    finally:
        rig.disconnect()


def test_what_a_configuration_lacks_is_said(tmp_path):
    optics = Optics()
    with pytest.raises(InputError, match="There is no configuration"):
        connect(tmp_path / "none.cfg", limits_um=(-5, 5), optics=optics)
    broken = tmp_path / "broken.cfg"
    broken.write_text("Device,Z,NoSuchAdapter,Stage\n")
    with pytest.raises(InputError, match="can't be loaded"):
        connect(broken, limits_um=(-5, 5), optics=optics)
    bare = tmp_path / "bare.cfg"
    bare.write_text("Property,Core,Initialize,0\nProperty,Core,Initialize,1\n")
    with pytest.raises(InputError, match="no camera or no focus stage"):
        connect(bare, limits_um=(-5, 5), optics=optics)
    rig = connect(CONFIG, limits_um=(-5, 5), optics=optics)
    with pytest.raises(InputError, match="numerical aperture"):
        drain(autofocus(rig, METHOD))
    rig.disconnect()


def test_devices_that_are_unloaded_call_nobody(scene):
    """Their calls come from threads of their own, and a Python that ends does not outlive them."""
    rig, heard, last = connect_demo(scene), [], threading.Event()
    rig.core.events.systemConfigurationLoaded.connect(lambda: heard.append("unloaded"))
    rig.core.events.propertyChanged.connect(lambda *change: heard.append(change))
    rig.core.events.propertyChanged.connect(lambda *change: last.set() if change[1:] == ("AutoShutter", "1") else None)
    rig.core.setAutoShutter(True)  # told after all that connecting had to tell
    assert last.wait(60)
    heard.clear()
    rig.disconnect()
    time.sleep(0.2)
    assert heard == []


def test_a_disconnected_rig_says_so(scene):
    rig = connect_demo(scene)
    rig.disconnect()
    with pytest.raises(InputError, match="not connected"):
        drain(acquire.z_stack(rig, acquire.z_plan(2, 1)))
    with contextlib.suppress(InputError):
        rig.disconnect()
