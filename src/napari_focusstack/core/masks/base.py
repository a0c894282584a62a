"""What a mask method is, and the job that runs one: a probability of focus for each pixel of each slice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from napari_focusstack.core.errors import InputError
from napari_focusstack.core.progress import Job, Progress
from napari_focusstack.core.registry import Choice
from napari_focusstack.core.stack import Stack

LEVELS = 255
"""Probabilities are kept in steps of 1/255: a byte a pixel."""
THRESHOLD = 0.5


@dataclass(frozen=True, eq=False)
class SliceMask:
    """The answer for one slice.

    Attributes
    ----------
    z : int
        The slice, 0-based.
    probability : (Y, X) float32
        That the pixel is in focus, 0 … 1.
    """

    z: int
    probability: NDArray[np.float32]


class MaskMethod(Choice, Protocol):
    """Says which pixels of a slice are in focus."""

    @property
    def parameters(self) -> Mapping[str, Any]:
        """Everything that the result depends on beside the pixels, as plain values, for the provenance."""
        ...

    def caution(self, stack: Stack) -> str:
        """What everyone has to know who sees its masks of this stack, in sentences; empty where there is nothing."""
        ...

    def slices(self, stack: Stack, *, device: str) -> Job[None]:
        """Judge the slices of a ZYX or ZYXS stack one after the other.

        Yields
        ------
        Progress
            Often enough for *Cancel*; ``partial`` holds a `SliceMask` where a slice is done.
        """
        ...


@dataclass(frozen=True, eq=False)
class FocusMasks:
    """Which pixels of a stack are in focus.

    Attributes
    ----------
    levels : (Z, Y, X) uint8
        Probability of focus, 0 … 255 for 0 … 1.
    method : str
        Name of the method.
    parameters : mapping
        Every parameter that the result depends on, for the provenance.
    caution : str
        What everyone has to know who sees them; empty where there is nothing.
    """

    levels: NDArray[np.uint8]
    method: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    caution: str = ""

    def probability(self) -> NDArray[np.float32]:
        """(Z, Y, X) float32, 0 … 1."""
        p: NDArray[np.float32] = self.levels.astype(np.float32)
        p /= LEVELS
        return p

    def mask(self, threshold: float = THRESHOLD, *, out: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
        """(Z, Y, X) uint8, 1 where the probability is `threshold` or more, else 0; written to `out` where given."""
        least = _level(threshold)
        if out is None:
            out = np.empty_like(self.levels)
        np.greater_equal(self.levels, least, out=out.view(np.bool_))
        return out

    def shares(self, threshold: float = THRESHOLD) -> NDArray[np.float64]:
        """(Z,) share of each slice's pixels that is in focus; at once, whatever the stack's size."""
        return self._at_least[:, _level(threshold)]

    @cached_property
    def _at_least(self) -> NDArray[np.float64]:
        """(Z, 256) share of pixels of each level or a higher one."""
        counts = np.stack([np.bincount(plane.ravel(), minlength=LEVELS + 1) for plane in self.levels])
        share: NDArray[np.float64] = np.cumsum(counts[:, ::-1], axis=1)[:, ::-1] / self.levels[0].size
        return share


def _level(threshold: float) -> int:
    """The least level that counts: never 0, which is no focus at all."""
    return int(np.clip(np.ceil(threshold * LEVELS - 1e-6), 1, LEVELS))


def focus_masks(stack: Stack, method: MaskMethod, *, device: str = "auto") -> Job[FocusMasks]:
    """Say which pixels of each slice are in focus.

    Parameters
    ----------
    stack : Stack
        Axes ZYX or ZYXS, or a single plane; slices are read one at a time.
    method : MaskMethod
        How.
    device : {"auto", "cpu", "cuda", "mps"}
        Where a network computes.

    Yields
    ------
    Progress
        ``partial`` holds (slice, share of its pixels at the usual threshold) where a slice is done.

    Raises
    ------
    InputError
        If the stack has channels, times or positions left to choose from, at once.
    """
    if not set(stack.axes) <= set("ZYXS"):
        raise InputError(
            f"'{stack.name}' has the axes {stack.axes}: choose one channel, time point and position before masking."
        )
    return _collect(stack, method, device)


def _collect(stack: Stack, method: MaskMethod, device: str) -> Job[FocusMasks]:
    levels = np.zeros((stack.n_slices, *stack.plane_shape), np.uint8)
    for step in method.slices(stack, device=device):
        if isinstance(step.partial, SliceMask):
            done = step.partial
            levels[done.z] = np.rint(done.probability * LEVELS)
            share = float((levels[done.z] >= _level(THRESHOLD)).mean())
            step = replace(step, partial=(done.z, share))
        yield step
    yield Progress(stack.n_slices, stack.n_slices, "done")
    return FocusMasks(levels, method.name, dict(method.parameters), method.caution(stack))
