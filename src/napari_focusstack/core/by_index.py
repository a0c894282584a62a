"""The values of a stack at the slice that an index map names, pixel by pixel: nothing is mixed."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_focusstack.core.errors import InputError
from napari_focusstack.core.progress import Job, Progress
from napari_focusstack.core.stack import Stack


def copy_by_index(stack: Stack, index: NDArray[Any]) -> Job[NDArray[Any]]:
    """Copy each pixel from the slice that `index` names, as a job that reads one plane at a time.

    Parameters
    ----------
    stack : Stack
        One time and position: axes ZYX, ZYXS or CZYX.
    index : (Y, X) or (C, Y, X) int array
        Slice of each pixel, 0-based; without C it holds for every channel.

    Returns
    -------
    (Y, X), (Y, X, 3) or (C, Y, X) array
        ``stack[index[y, x], y, x]``, in the stack's pixel type.

    Raises
    ------
    InputError
        If the index has another shape than the stack's planes, or names a slice that the stack does not have.
    """
    index = np.asarray(index)
    shape = stack.plane_shape
    if index.shape not in (shape, (stack.n_channels, *shape)):
        raise InputError(f"An index of shape {index.shape} was given for planes of {shape}: give one slice a pixel.")
    wanted = np.unique(index)
    if wanted[0] < 0 or wanted[-1] >= stack.n_slices:
        raise InputError(
            f"The index names slices {wanted[0]} to {wanted[-1]}, but '{stack.name}' has slices 0 to "
            f"{stack.n_slices - 1}: give the stack that it was made from."
        )
    n = len(wanted) * stack.n_channels
    out: list[NDArray[Any]] = []
    for c in range(stack.n_channels):
        of_channel = index if index.ndim == 2 else index[c]
        for i, z in enumerate(wanted):
            plane = stack.plane(int(z), c=c)
            if i == 0:
                out.append(np.zeros_like(plane))
            here = of_channel == z
            out[c][here] = plane[here]
            yield Progress(c * len(wanted) + i + 1, n, f"Copying from slice {z}")
    return np.stack(out) if "C" in stack.axes else out[0]
