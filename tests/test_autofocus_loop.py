"""The closed loop: whatever goes wrong, the stage is stopped, and inside its limits."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np
import pytest

from napari_focusstack.core.autofocus import (
    CurvePolicy,
    IndexPolicy,
    JumpPolicy,
    LoopSettings,
    Move,
    Reading,
    Seen,
    StageError,
    Travel,
    Verdict,
    focusing,
    going,
    loop,
)
from napari_focusstack.core.progress import drain

LOW, HIGH, FOCUS = -20.0, 20.0, 6.0
POLICIES = [IndexPolicy(), JumpPolicy(), CurvePolicy()]


@dataclass
class Bench:
    """A stage that needs some polls to arrive, and a camera whose image holds the height."""

    z_um: float = 0.0
    slowness: int = 3
    target_um: float | None = None
    halted: bool = False
    moved_after_stop: bool = False
    snaps: int = 0
    visited: list[float] = field(default_factory=list)

    def snap(self):
        self.snaps += 1
        self.visited.append(self.z_um)
        return np.full((4, 4), self.z_um)

    def height_um(self) -> float:
        return self.z_um

    def start_moving(self, target_um: float) -> None:
        assert LOW <= target_um <= HIGH
        self.moved_after_stop |= self.halted
        self.target_um, self._left = target_um, self.slowness

    def moving(self) -> bool:
        if self.target_um is None:
            return False
        self._left -= 1
        self.z_um += (self.target_um - self.z_um) / max(self._left + 1, 1)
        if self._left <= 0:
            self.z_um, self.target_um = self.target_um, None
        return self.target_um is not None

    def stop(self) -> None:
        self.target_um, self.halted = None, True


def sense(image) -> Reading:
    far = float(image[0, 0]) - FOCUS
    value = 1 + 1 / (1 + (far / 3) ** 2)
    return Reading(index=float(np.clip(far / 2, -3, 3)), defocus_um=far, value=value)


def nothing(image) -> Reading:
    return Reading(value=1.0, evidence=False)


def travel(start: float = 0.0, toward=-1) -> Travel:
    return Travel(start, LOW, HIGH, 1.4, toward)


@pytest.fixture(params=POLICIES, ids=lambda p: p.name)
def policy(request):
    return request.param


def test_every_policy_focuses_and_records_each_image(policy):
    bench = Bench()
    found = drain(focusing(bench, sense, policy, travel()))
    assert found.found
    assert abs(bench.z_um - FOCUS) <= 0.7
    assert found.z_um == bench.z_um
    assert not bench.halted
    assert [s.z_um for s in found.steps] == bench.visited
    assert [s.number for s in found.steps] == list(range(bench.snaps))
    assert list(np.diff([s.seconds for s in found.steps]) >= 0) == [True] * (bench.snaps - 1)


def test_images_come_with_the_progress(policy):
    seen = [p.partial for p in focusing(Bench(), sense, policy, travel()) if isinstance(p.partial, Seen)]
    assert all(s.image[0, 0] == s.step.z_um for s in seen)


def test_a_field_without_anything_leaves_the_stage_where_it_stood(policy):
    bench = Bench(z_um=3.0)
    found = drain(focusing(bench, nothing, policy, travel(3.0)))
    assert not found.found
    assert bench.z_um == found.z_um == 3.0
    assert found.reason


def test_a_camera_that_raises_stops_the_stage(policy):
    for broken in range(6):
        bench = Bench()
        snap = bench.snap

        def fail(bench=bench, snap=snap, broken=broken):
            if bench.snaps == broken:
                raise RuntimeError("camera")
            return snap()

        bench.snap = fail  # type: ignore[method-assign]
        with contextlib.suppress(RuntimeError):
            assert drain(focusing(bench, sense, policy, travel())).found  # it was done with so few images
            continue
        assert bench.halted
        assert not bench.moved_after_stop
        assert LOW <= bench.z_um <= HIGH


def test_a_stage_that_stalls_is_stopped(policy):
    bench = Bench(slowness=10**9)
    with pytest.raises(StageError, match="did not reach"):
        drain(focusing(bench, sense, policy, travel(), settings=LoopSettings(move_timeout_s=0.05)))
    assert bench.halted
    assert LOW <= bench.z_um <= HIGH


def test_a_stage_that_arrived_while_nobody_took_the_steps_has_not_stalled(monkeypatch):
    seconds = [0.0]
    monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=lambda: seconds[0], sleep=lambda _: None))
    bench, steps = Bench(slowness=2), 0
    for _ in going(bench, 5.0, near_um=0.1, timeout_s=10):
        steps += 1
        seconds[0] += 3600  # the program was stopped for an hour, say
    assert steps == 1
    assert bench.z_um == 5.0


def test_a_stage_that_ends_elsewhere_is_stopped(policy):
    bench = Bench()
    bench.start_moving = lambda target: None  # type: ignore[method-assign]
    with pytest.raises(StageError, match="stands at"):
        drain(focusing(bench, sense, policy, travel()))
    assert bench.halted


@pytest.mark.parametrize("seed", range(12))
def test_cancel_at_any_moment_stops_the_stage_at_once(policy, seed):
    rng = np.random.default_rng(seed)
    bench = Bench(slowness=8)
    job = focusing(bench, sense, policy, travel())
    for _ in range(int(rng.integers(1, 25))):
        try:
            next(job)
        except StopIteration:
            return
    where = bench.z_um
    job.close()
    assert bench.halted
    assert bench.target_um is None
    assert bench.z_um == where


def test_a_sensor_that_raises_stops_the_stage():
    bench = Bench()

    def broken(image):
        raise ValueError("network")

    with pytest.raises(ValueError, match="network"):
        drain(focusing(bench, broken, IndexPolicy(), travel()))
    assert bench.halted


class Reckless:
    """A policy that wants to go far beyond."""

    name = "reckless"

    def moves(self, travel):
        for target in (1e6, -1e6):
            yield Move(target, "jump")
        return Verdict(False, 0.0, "gave up")


def test_no_policy_can_leave_the_limits():
    bench = Bench()
    drain(focusing(bench, sense, Reckless(), travel()))
    assert bench.visited == [HIGH, LOW]


def test_too_many_images_end_it_and_the_stage_goes_back():
    bench = Bench()
    restless = [Reading(index=2.0, side=1.0), Reading(index=-2.0, side=1.0)]
    most = LoopSettings(max_images=9)
    found = drain(focusing(bench, lambda i: restless[bench.snaps % 2], IndexPolicy(), travel(), settings=most))
    assert not found.found
    assert len(found.steps) == 9
    assert bench.z_um == 0.0


def test_time_ends_it_and_the_stage_goes_back():
    bench, now = Bench(), iter(np.arange(0, 1000, 0.5))
    found = drain(
        focusing(
            bench, nothing, CurvePolicy(), travel(), settings=LoopSettings(timeout_s=2), clock=lambda: float(next(now))
        )
    )
    assert not found.found
    assert "within 2 s" in found.reason
    assert bench.z_um == 0.0


def test_a_stage_that_stops_a_little_short_of_its_limit_still_turns_round():
    bench = Bench()
    start = bench.start_moving
    bench.start_moving = lambda target: start(float(np.clip(target, LOW + 0.1, HIGH - 0.1)))  # type: ignore[method-assign]
    found = drain(focusing(bench, nothing, IndexPolicy(), travel()))
    assert not found.found
    assert "empty" in found.reason
