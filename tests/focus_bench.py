"""What the tests of the Focus widget stand on: a stack with a known best slice, and the widget without a window."""

from __future__ import annotations

import csv
import io
import threading
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pytest
from napari.components import ViewerModel
from qtpy.QtWidgets import QFileDialog

from napari_focusstack.widgets.focus import FocusWidget

BEST = 3


def stack(n: int = 7, size: int = 128, *, best: int = BEST, seed: int = 0) -> np.ndarray:
    """Texture that is sharpest at slice `best`, uint16."""
    import cv2

    random = np.random.default_rng(seed)
    sharp = random.random((size, size), np.float32) * 20000 + 5000
    planes = [cv2.GaussianBlur(sharp, (0, 0), 0.4 + min(abs(z - best), 6)) for z in range(n)]
    return np.stack([(p + random.normal(0, 30, p.shape)).clip(0, 65535).astype(np.uint16) for p in planes])


CALIBRATED: dict[str, Any] = {"scale": (2.0, 0.5, 0.5), "units": ("um",) * 3, "axis_labels": ("z", "y", "x")}


class Bench:
    """The widget on a viewer without a window."""

    def __init__(self, qtbot: Any) -> None:
        self.qtbot = qtbot
        self.viewer = ViewerModel()
        self.focus: FocusWidget = None  # type: ignore[assignment]

    def open(self) -> FocusWidget:
        self.focus = FocusWidget(self.viewer)
        events = self.viewer.layers.events
        for event in (events.inserted, events.removed, events.reordered, events.renamed):
            event.connect(self.focus.reset_choices)  # as napari's window does for docked widgets
        self.qtbot.addWidget(self.focus)
        return self.focus

    def score(self, scorer: str | None = None) -> None:
        if scorer:
            self.focus.form.scorer_box.choose(scorer)
        self.focus.form.job_bar.run_button.click()
        self.idle()

    def idle(self) -> None:
        self.qtbot.waitUntil(self.is_idle, timeout=60_000)

    def is_idle(self) -> bool:
        scoring = self.focus.scoring
        runners = (self.focus.form.job_bar.runner, scoring._reweigher, scoring.saver, self.focus.extracting.runner)
        return not any(runner.busy for runner in runners)

    @property
    def verdict(self) -> str:
        return self.focus.form.verdict.text()


def held(pixels: np.ndarray[Any, Any], go_on: threading.Event, *, after: int) -> da.Array:
    """A stack whose slices from `after` on are not read before `go_on` is set, however fast or slow the machine."""

    def read(block: np.ndarray[Any, Any], block_id: tuple[int, ...]) -> np.ndarray[Any, Any]:
        assert block_id[0] < after or go_on.wait(60)
        return block

    return da.from_array(pixels, chunks=(1, *pixels.shape[1:])).map_blocks(read, dtype=pixels.dtype, meta=pixels[:0])


def save_to(monkeypatch: pytest.MonkeyPatch, path: Path) -> list[str]:
    proposed: list[str] = []

    def answer(_parent: Any, _title: str, name: str, _filter: str) -> tuple[str, str]:
        proposed.append(name)
        return str(path), ""

    monkeypatch.setattr(QFileDialog, "getSaveFileName", answer)
    return proposed


def table(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig"))))


def saved(bench: Bench, monkeypatch: pytest.MonkeyPatch, path: Path) -> list[dict[str, str]]:
    save_to(monkeypatch, path)
    bench.focus.form.save_scores_button.click()
    bench.idle()
    return table(path)


def on_a_dark_field(*best: int) -> np.ndarray:
    """A series for each of `best`, with a specimen in the middle."""
    data = np.zeros((len(best), 7, 256, 256), np.uint16) + 1000
    for t, z in enumerate(best):
        data[t, :, 64:192, 64:192] += stack(best=z)
    return data
