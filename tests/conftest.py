"""Shared fixtures. Real windows come from napari's `make_napari_viewer`; nothing may be left behind by a test."""

from __future__ import annotations

import gc
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("NAPARI_STRICT_QT", "1")
# The tests' networks are tiny: threads would wait for each other longer than they compute.
os.environ.setdefault("OMP_NUM_THREADS", "1")

SHARED = Path(__file__).parents[2] / "shared" / "data"
"""Real images for development; tests that need them skip where they are absent."""


@pytest.fixture(scope="session")
def shared_data() -> Path:
    if not SHARED.is_dir():
        pytest.skip("needs ../shared/data")
    return SHARED


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of models, trained for real in seconds: `mmdf` and `ldsenet`, hardly better than chance."""
    pytest.importorskip("torch")
    import trained_networks

    root = tmp_path_factory.mktemp("models")
    trained_networks.train_tiny(root, tmp_path_factory.mktemp("work"))
    return root


@pytest.fixture(scope="module")
def networks(tiny_models: Path) -> Iterator[Path]:
    """The tiny models offered as scorers while a module's tests run, and taken away again."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FOCUSSTACK_MODELS", str(tiny_models))
        yield tiny_models


@pytest.fixture(autouse=True)
def no_leaks() -> Iterator[None]:
    """Fail a test that leaves a worker running or one of our widgets alive."""
    yield
    # Tests without a window must not load Qt by this check.
    if "superqt.utils._qthreading" not in sys.modules or "qtpy.QtWidgets" not in sys.modules:
        return
    from qtpy.QtCore import QCoreApplication, QEvent
    from qtpy.QtWidgets import QApplication
    from superqt.utils import WorkerBase

    app = QApplication.instance()
    if app is None:
        return
    WorkerBase.await_workers(120_000)
    for _ in range(3):
        QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
        app.processEvents()
    assert not WorkerBase._worker_set, f"workers left running: {WorkerBase._worker_set}"
    left = _our_widgets(app)
    if left:
        gc.collect()
        left = _our_widgets(app)
    assert not left, f"widgets left alive: {left}"


def _our_widgets(app: object) -> list[object]:
    return [w for w in app.topLevelWidgets() if type(w).__module__.startswith("napari_focusstack")]  # type: ignore[attr-defined]


@pytest.fixture
def make_napari_viewer(make_napari_viewer: Any) -> Iterator[Any]:
    """napari's own; its viewer is not taken apart while a worker runs, which might collect the pieces in its thread."""
    from superqt.utils import WorkerBase

    yield make_napari_viewer
    WorkerBase.await_workers(120_000)


@pytest.fixture
def bench(qtbot: Any) -> Iterator[Any]:
    """A `Bench`: the Focus widget on a viewer without a window."""
    from focus_bench import Bench

    made = Bench(qtbot)
    yield made
    if made.focus is not None:
        made.focus.shut_down()


@pytest.fixture
def go_on() -> Iterator[threading.Event]:
    """A gate for workers: open until a test closes it, and open again at its end."""
    gate = threading.Event()
    gate.set()
    yield gate
    gate.set()


@pytest.fixture
def notes() -> Iterator[list[str]]:
    """What napari told the user while the test ran."""
    from napari.utils.notifications import notification_manager

    said: list[str] = []

    def keep(event: object) -> None:
        said.append(str(event.message))  # type: ignore[attr-defined]

    notification_manager.notification_ready.connect(keep)
    yield said
    notification_manager.notification_ready.disconnect(keep)
