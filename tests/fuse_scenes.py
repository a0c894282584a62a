"""What the tests of the Fuse widget fuse, and how."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import tifffile
from qtpy.QtCore import Qt

from napari_focusstack.core.progress import drain
from napari_focusstack.core.settings import FuseSettings
from napari_focusstack.core.stack import Stack, from_array
from napari_focusstack.widgets.fuse_channels import source_of
from napari_focusstack.widgets.fuse_run import FuseJob, FuseResult
from napari_focusstack.widgets.layers import METADATA
from napari_focusstack.widgets.open_stack import add_layers
from napari_focusstack.widgets.reader import layers_of

SLICES = 5
ALL_PARTS = ("image", "index", "depth", "confidence")


def scene(*, slices: int = SLICES, height: int = 64, width: int = 96, dtype: str = "uint16") -> np.ndarray:
    """Texture in vertical stripes, stripe i sharp in slice i and flat elsewhere."""
    texture = np.random.default_rng(1).integers(50, 200, (height, width))
    planes = np.full((slices, height, width), 125)
    edges = np.linspace(0, width, slices + 1).astype(int)
    for z, (x0, x1) in enumerate(itertools.pairwise(edges)):
        planes[z, :, x0:x1] = texture[:, x0:x1]
    return planes.astype(dtype)


def named(data: object, **options: object) -> Stack:
    return from_array(data, **{"name": "A01", "z_um": 2.0, "y_um": 0.5, "x_um": 0.25, **options})


def open_in(viewer: object, stack: Stack) -> list:
    return add_layers(viewer, layers_of(stack))


def fuse(*layers: object, times: tuple[int, ...] = (0,), **options: object) -> FuseResult:
    return drain(FuseJob(source_of(layers), FuseSettings(**options), times=times, positions=(0,))())


def click(qtbot, button) -> None:
    assert button.isEnabled()
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def channels_of_two() -> Stack:
    first = scene()
    return named(np.stack([first, first[::-1]]), axes="CZYX", channels=("DAPI", "GFP"))


def fused_from_a_file(model: object, folder: Path) -> FuseResult:
    path = folder / "A01 für Öl.ome.tif"
    tifffile.imwrite(path, scene(), ome=True, metadata={"axes": "ZYX"})
    (layer,) = open_in(model, named(scene()))
    layer.metadata[METADATA] |= {"source": str(path), "files": [str(path)]}
    return fuse(layer)
