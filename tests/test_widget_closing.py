"""Docks that are closed one after the other: what is left of them is collected, and nothing crashes."""

import subprocess
import sys

import pytest

DOCKS = ("Focus", "Fuse", "Focus masks", "Restore", "Microscope")
SCRIPT = """
import gc, sys, napari
from qtpy.QtTest import QTest
viewer = napari.Viewer()
def open_and_close(name):
    dock, widget = viewer.window.add_plugin_dock_widget("napari-focusstack", name)
    QTest.qWait(100)
    dock.titleBarWidget().close_button.click()
for name in sys.argv[1:]:
    open_and_close(name)
    QTest.qWait(300)
    gc.collect()
    print("closed", name, flush=True)
viewer.close()
"""


def test_each_dock_can_be_closed_and_collected(qapp):
    """In a process of its own: a Qt object that is collected at the wrong moment takes it down."""
    pytest.importorskip("pymmcore_plus")
    ran = subprocess.run([sys.executable, "-c", SCRIPT, *DOCKS], capture_output=True, text=True, timeout=900)
    assert [line for line in ran.stdout.splitlines() if line.startswith("closed")] == [f"closed {d}" for d in DOCKS], (
        ran.stderr[-2000:]
    )
