"""What the fusion benchmark fuses: pairs and scenes with truth that no setting was chosen on, and real stacks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
import pairs

import scenes
from napari_focusstack.core.align import align_series
from napari_focusstack.core.progress import drain
from napari_focusstack.core.stack import Stack, from_array
from napari_focusstack.io.read import read_stack
from napari_focusstack.io.samples import SAMPLES, sample_stack

PAIRS, FIVE, TWENTY, REAL = "pairs", "five slices", "twenty slices", "real stacks"
PAIR_SHAPE, SCENE_SHAPE, QUICK_SHAPE = (384, 448), (192, 224), (192, 224)
TWENTY_EVERY = 2
"""Of so many scenes one is fused from twenty slices, too: some methods take minutes for it."""
LARGEST_PX = 320
MOST_SLICES = 9
FILES = {"board": ("board.ome.tif", True), "pcb": ("pcb", True), "midgut": ("midgut", True)}
"""Real stacks of the data folder, and whether their slices have to be registered."""


@dataclass(frozen=True)
class Item:
    """A stack, and what it would show if all were sharp (None where nobody knows)."""

    group: str
    name: str
    stack: Stack
    truth: np.ndarray | None = None


def material(data: Path | None, *, quick: bool) -> Iterator[Item]:
    """All items, or a few small ones; without the data folder there are fewer of them."""
    yield from two_slices(data, quick=quick)
    held_out = (s for s in scenes.scenes(SCENE_SHAPE, None if data is None else data / "sharp") if s.held_out)
    for k, scene in enumerate(islice(held_out, 2 if quick else None)):
        yield Item(FIVE, scene.name, _stack(scene.stack(5)), scene.truth())
        if not quick and k % TWENTY_EVERY == 0:
            yield Item(TWENTY, scene.name, _stack(scene.stack(20)), scene.truth())
        scene.forget()
    for sample in SAMPLES:
        yield Item(REAL, sample.name, _part(sample_stack(sample.name), QUICK_SHAPE[0] if quick else LARGEST_PX))
    if data is not None and not quick:
        for name, (file, shifted) in FILES.items():
            stack = _part(read_stack(data / "stacks" / file), LARGEST_PX)
            yield Item(REAL, name, drain(align_series(stack)) if shifted else stack)


def two_slices(data: Path | None, *, quick: bool, noise: float = 1.0) -> Iterator[Item]:
    """The pairs alone; `noise` is a factor on theirs."""
    made = pairs.pairs(QUICK_SHAPE if quick else PAIR_SHAPE, data, noise=noise)
    for pair in islice((p for p in made if p.held_out), 3 if quick else None):
        yield Item(PAIRS, pair.name, _stack(pair.stack), pair.truth)


def _stack(slices: np.ndarray) -> Stack:
    return from_array(slices, axes="ZYXS" if slices.ndim == 4 else "ZYX", z_um=1.0)


def _part(stack: Stack, side: int) -> Stack:
    """The middle of a stack, and not too many slices."""
    step = -(-stack.n_slices // MOST_SLICES)
    cut = tuple(slice(max(0, (n - side) // 2), max(0, (n - side) // 2) + side) for n in stack.plane_shape)
    planes = np.stack([stack.plane(z)[cut] for z in range(0, stack.n_slices, step)])
    z_um = None if stack.z_um is None else stack.z_um * step
    return replace(stack, data=planes, axes="ZYXS" if planes.ndim == 4 else "ZYX", z_um=z_um, z_positions_um=None)
