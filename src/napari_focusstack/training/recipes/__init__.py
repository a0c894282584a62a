"""How each bundled network is trained: one module a family, each with its ``RECIPES``."""

from __future__ import annotations

from napari_focusstack.core.registry import Registry
from napari_focusstack.training.recipes import (
    blind,
    deblur,
    end_to_end,
    fusion,
    gmanet,
    hhnet,
    iqa,
    ldsenet,
    mmdf,
    msegnet,
)
from napari_focusstack.training.recipes.base import TINY, Recipe, Trained, save_trained, train, varied

__all__ = ["RECIPES", "TINY", "Recipe", "Trained", "save_trained", "train", "varied"]

RECIPES: Registry[Recipe] = Registry("recipe")
for _family in (
    mmdf,
    ldsenet,
    gmanet,
    hhnet,
    iqa,
    deblur,
    end_to_end,
    fusion,
    msegnet,
    blind,
):
    for _recipe in _family.RECIPES:
        RECIPES.add(_recipe)
