"""How long the window's event loop is held while a 20×2048×2048 stack is scored and fused.

A timer beats every 5 ms in a real napari window; by how much a beat comes late is how long something held the event
loop. Wall time and the CPU time of the main thread are told apart: on a busy machine, only the second is the code's
own. Phases without our code tell what napari takes for itself: scrolling, and adding layers of the same size.

Run it with ``xvfb-run -a -s '-screen 0 1600x1000x24' python benchmarks/heartbeat.py``; ``--json`` for machines,
``--where`` to see which code held the loop for longer than 60 ms.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import napari
import numpy as np
from qtpy.QtCore import QObject, Qt, QTimer
from qtpy.QtWidgets import QApplication

BEAT_MS = 5
LATE_S = 0.06


class Heart(QObject):
    """Notes when it beats."""

    def __init__(self) -> None:
        super().__init__()
        self.late_ms: list[float] = []
        self.cpu_ms: list[float] = []
        self.last = time.perf_counter()
        self._last_cpu = time.thread_time()
        self._timer = QTimer(self)
        self._timer.setTimerType(Qt.TimerType.PreciseTimer)
        self._timer.setInterval(BEAT_MS)
        self._timer.timeout.connect(self._beat)
        self._timer.start()

    def _beat(self) -> None:
        now = time.perf_counter()
        self.late_ms.append(max(0.0, (now - self.last) * 1000 - BEAT_MS))
        self.last = now
        cpu = time.thread_time()
        self.cpu_ms.append((cpu - self._last_cpu) * 1000)
        self._last_cpu = cpu

    def clear(self) -> None:
        """Forget the beats so far."""
        self.late_ms.clear()
        self.cpu_ms.clear()


class Watch(threading.Thread):
    """Samples what the main thread does while a beat is late."""

    def __init__(self, heart: Heart) -> None:
        super().__init__(daemon=True)
        self._heart = heart
        self._main = threading.get_ident()
        self.phase = ""
        self.seen: list[tuple[str, str]] = []

    def run(self) -> None:
        """Look every 20 ms."""
        while True:
            time.sleep(0.02)
            if self.phase and time.perf_counter() - self._heart.last > LATE_S:
                stack = traceback.extract_stack(sys._current_frames()[self._main])
                inner = " < ".join(f"{f.filename.split('/')[-1]}:{f.lineno} {f.name}" for f in reversed(stack[-6:]))
                self.seen.append((self.phase, inner))


class Bench:
    """Runs phases in a window and measures each."""

    def __init__(self, stack: np.ndarray) -> None:
        self.viewer = napari.Viewer(show_welcome_screen=False)
        self.viewer.window._qt_window.resize(1500, 950)
        limits = (int(stack.min()), int(stack.max()))
        self.layer = self.viewer.add_image(
            stack,
            name="A01",
            scale=(2, 0.3, 0.3),
            units=("um",) * 3,
            axis_labels=("z", "y", "x"),
            contrast_limits=limits,
        )
        self.heart = Heart()
        self.watch = Watch(self.heart)
        self.watch.start()
        self.results: dict[str, dict[str, float]] = {}
        self.wait(1.0)

    def wait(self, seconds: float, until: Callable[[], bool] | None = None, *, scroll: bool = False) -> None:
        """Let the event loop run."""
        end = time.perf_counter() + seconds
        n = self.layer.data.shape[0]
        next_scroll, z = 0.0, 0
        while time.perf_counter() < end and not (until and until()):
            QApplication.processEvents()
            time.sleep(0.001)
            if scroll and time.perf_counter() > next_scroll:
                z = (z + 1) % n
                self.viewer.dims.set_current_step(0, z)
                next_scroll = time.perf_counter() + 0.1

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Measure what happens meanwhile."""
        self.wait(0.3)
        self.heart.clear()
        self.watch.phase = name
        start = time.perf_counter()
        yield
        seconds = time.perf_counter() - start
        self.wait(0.3)
        self.watch.phase = ""
        late = np.array(self.heart.late_ms)
        self.results[name] = {
            "seconds": round(seconds, 2),
            "p50_ms": round(float(np.quantile(late, 0.5)), 1),
            "p99_ms": round(float(np.quantile(late, 0.99)), 1),
            "max_ms": round(float(late.max()), 1),
            "cpu_p99_ms": round(float(np.quantile(self.heart.cpu_ms, 0.99)), 1),
            "cpu_max_ms": round(float(np.max(self.heart.cpu_ms)), 1),
        }


def through_focus(n: int, size: int) -> np.ndarray:
    """A stack that goes through focus, uint16."""
    import cv2

    random = np.random.default_rng(0)
    blobs = cv2.GaussianBlur(random.random((size, size), np.float32), (0, 0), 3)
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    specimen = np.hypot(y, x) < 0.6
    sharp = specimen * 30000 * (blobs - blobs.min()) / np.ptp(blobs) + 2000
    sharp = sharp.astype(np.float32)
    planes = [cv2.GaussianBlur(sharp, (0, 0), 0.3 + abs(z - n // 2)) for z in range(n)]
    return np.stack([(p + random.normal(0, 100, p.shape)).clip(0, 65535).astype(np.uint16) for p in planes])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slices", type=int, default=20)
    parser.add_argument("--size", type=int, default=2048)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--where", action="store_true")
    parser.add_argument("--no-fuse", action="store_true")
    args = parser.parse_args()
    from napari_focusstack.widgets.focus import FocusWidget

    stack = through_focus(args.slices, args.size)
    bench = Bench(stack)
    viewer = bench.viewer
    with bench.phase("napari: idle"):
        bench.wait(2)
    with bench.phase("napari: scrolling"):
        bench.wait(4, scroll=True)
    with bench.phase("napari: adding three layers of this size"):
        for data in (stack[0], np.zeros((args.size, args.size), np.float32), stack[1]):
            viewer.add_image(data, contrast_limits=(0, 1000))
            bench.wait(0.2)
    for layer in list(viewer.layers)[1:]:
        viewer.layers.remove(layer)
        bench.wait(0.2)  # napari 0.9 crashes if two layers go without being drawn between

    with bench.phase("opening Focus"):
        focus = FocusWidget(viewer)
        viewer.window.add_dock_widget(focus, name="Focus", area="right")
        bench.wait(1)
    runner = focus.form.job_bar.runner
    for name, scorer, scroll in (
        ("scoring", "tenengrad", False),
        ("scoring and scrolling", "variance_of_laplacian", True),
    ):
        focus.form.scorer_box.choose(scorer)
        with bench.phase(name):
            focus.form.job_bar.run_button.click()
            bench.wait(120, until=_idle(runner), scroll=scroll)
    with bench.phase("focus map, region and whole image"):
        focus.form.map_box.click()
        bench.wait(0.5)
        for number in (1, 0):
            focus.form.basis.button(number).click()
            bench.wait(0.5)
    with bench.phase("scrolling with map and outline"):
        bench.wait(4, scroll=True)
    focus.form.map_box.click()

    if not args.no_fuse:
        _fuse(bench)
    viewer.close()
    report(bench, args)


def _fuse(bench: Bench) -> None:
    from napari_focusstack.widgets.fuse import FuseWidget

    viewer = bench.viewer
    with bench.phase("opening Fuse"):
        fuse = FuseWidget(viewer)
        viewer.window.add_dock_widget(fuse, name="Fuse", area="right", tabify=True)
        bench.wait(1)
    fuse.choose_layer(bench.layer)
    with bench.phase("fusing (the results' layers are added at its end)"):
        fuse.bar.run_button.click()
        bench.wait(300, until=_idle(fuse.bar.runner))


def _idle(runner: Any) -> Callable[[], bool]:
    return lambda: not runner.busy


def report(bench: Bench, args: argparse.Namespace) -> None:
    if args.json:
        print(json.dumps(bench.results))
        return
    print(f"{'event loop held, ms':52} {'seconds':>8} {'p50':>7} {'p99':>7} {'max':>7} {'CPU p99':>8} {'CPU max':>8}")
    for name, r in bench.results.items():
        held = "".join(f" {r[k]:7.1f}" for k in ("p50_ms", "p99_ms", "max_ms"))
        print(f"{name:52} {r['seconds']:8.1f}{held} {r['cpu_p99_ms']:8.1f} {r['cpu_max_ms']:8.1f}")
    if args.where:
        for phase, inner in bench.watch.seen:
            print(f"{phase}: {inner}")


if __name__ == "__main__":
    main()
