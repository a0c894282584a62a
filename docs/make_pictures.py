"""Draw the README's pictures anew, from the bundled samples, in a real window (`make pictures`)."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import napari
import numpy as np
from qtpy.QtTest import QTest

import napari_focusstack as focusstack
from napari_focusstack.io.samples import sample_stack
from napari_focusstack.widgets.fuse_run import FAINT

PICTURES = Path(__file__).parent / "pictures"
PLUGIN = "napari-focusstack"


def wait_until(done: Callable[[], bool], *, seconds: float = 60) -> None:
    """Let the window live until `done`, then a little longer, so that it is painted."""
    for _ in range(int(seconds * 20)):
        QTest.qWait(50)
        if done():
            QTest.qWait(600)
            return
    sys.exit("the window did not get there in time")


def save(viewer: napari.Viewer, name: str) -> None:
    """Save what the window shows, as a PNG of few colours."""
    from PIL import Image

    picture = Image.fromarray(viewer.screenshot(canvas_only=False, flash=False)[..., :3])
    picture.quantize(200, dither=Image.Dither.NONE).save(PICTURES / f"{name}.png", optimize=True)
    print(PICTURES / f"{name}.png")


def draw_widgets() -> None:
    """The two widgets at work on the organoids."""
    viewer = napari.Viewer(show=True)
    viewer.window.resize(1400, 860)
    viewer.open_sample(PLUGIN, "organoids")
    dock, focus = viewer.window.add_plugin_dock_widget(PLUGIN, "Focus")
    focus.form.job_bar.run_button.click()
    wait_until(lambda: focus.scored is not None and focus.scoring.run is None)
    viewer.dims.set_current_step(0, focus.scored.report.decision.best)
    QTest.qWait(500)
    save(viewer, "focus")
    viewer.window.remove_dock_widget(dock)
    for layer in list(viewer.layers)[1:]:
        viewer.layers.remove(layer)
    _, fuse = viewer.window.add_plugin_dock_widget(PLUGIN, "Fuse")
    fuse.bar.run_button.click()
    wait_until(lambda: any("confidence" in layer.name for layer in viewer.layers))  # it comes last
    save(viewer, "fuse")
    viewer.close()


def draw_microscope() -> None:
    """The demo microscope, in focus, with a mosaic and a z-stack taken."""
    viewer = napari.Viewer(show=True)
    viewer.window.resize(1400, 860)
    _, widget = viewer.window.add_plugin_dock_widget(PLUGIN, "Microscope")
    widget.connect_bar.run_button.click()
    wait_until(lambda: widget.rig is not None, seconds=200)
    widget.scan.columns.setValue(3)
    widget.scan.bar.run_button.click()
    wait_until(lambda: "mosaic" in viewer.layers and not widget.busy)
    widget.focus.bar.run_button.click()
    wait_until(lambda: "In focus" in widget.focus.verdict.text())
    widget.focus.live_box.setChecked(False)
    viewer.reset_view()
    QTest.qWait(500)
    save(viewer, "microscope")
    widget.disconnect_rig()
    viewer.close()


def draw_before_and_after() -> None:
    """One slice, the fused image, and the height map of a crop of the organoids, side by side."""
    stack = sample_stack("organoids")
    fused = focusstack.fuse(stack)
    best = focusstack.score(stack).decision.best or 0
    crop = np.s_[100:420, 60:420]
    height = fused.depth_um[crop] / (stack.n_slices - 1) / stack.z_um
    colours = cv2.applyColorMap((255 * height.clip(0, 1)).astype(np.uint8), cv2.COLORMAP_VIRIDIS)
    colours[fused.confidence[crop] < FAINT] = 0
    greys = [cv2.cvtColor(plane[crop], cv2.COLOR_GRAY2BGR) for plane in (stack.plane(best), fused.image)]
    panels = [*greys, colours]
    gap = np.full((panels[0].shape[0], 8, 3), 255, np.uint8)
    cv2.imwrite(str(PICTURES / "before_after.png"), np.hstack([panels[0], gap, panels[1], gap, panels[2]]))
    print(PICTURES / "before_after.png")


if __name__ == "__main__":
    PICTURES.mkdir(exist_ok=True)
    draw_before_and_after()
    draw_widgets()
    draw_microscope()
