"""Tiny trained networks for tests: trained for real, in seconds, and hardly better than chance."""

from __future__ import annotations

from pathlib import Path

import imageio.v3 as iio

from napari_focusstack.core.progress import drain
from napari_focusstack.training.recipes import RECIPES, TINY, save_trained, train
from test_patches import cells

WIDTHS = {"mmdf": 0.1, "ldsenet": 0.4, "gmanet": 0.0625, "hhnet": 0.1}


def train_tiny(root: Path, work: Path) -> None:
    """Train `WIDTHS` into a folder of models."""
    sharp = work / "sharp"
    sharp.mkdir()
    for i in range(3):
        iio.imwrite(sharp / f"{i}.png", cells(i))
    for name, width in WIDTHS.items():
        settings = TINY.model_copy(update={"steps": 4, "batch": 8, "epochs": 1})
        trained = drain(train(RECIPES[name], sharp, folder=work / name, settings=settings, width=width))
        save_trained(trained, RECIPES[name], name=name, root=root)
