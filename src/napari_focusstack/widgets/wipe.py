"""One layer that is the original left of a line and the restored image right of it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_focusstack.core.errors import InputError
from napari_focusstack.widgets.layers import frame_of, place, shown_at, stack_of


class Wipe:
    """Shows two layers in one.

    Parameters
    ----------
    viewer : napari.Viewer
        The viewer that they are in.
    """

    def __init__(self, viewer: Any) -> None:
        self._viewer = viewer
        self._before: Any = None
        self._after: Any = None
        self._shown: Any = None
        self._planes: tuple[NDArray[Any], NDArray[Any]] | None = None
        self._share = 0.5

    def start(self, before: Any, after: Any, share: float) -> None:
        """Add the layer, split at a share of the width."""
        self.stop()
        self._before, self._after, self._share = before, after, share
        self._read()
        if self._planes is None:
            return
        axes = "YXS" if before.rgb else "YX"
        provenance = {"role": "before | after"}
        placed = place(self._split(), axes, like=frame_of(before), provenance=provenance)
        look = {} if before.rgb else {"contrast_limits": before.contrast_limits, "colormap": before.colormap.name}
        active = self._viewer.layers.selection.active
        self._shown = self._viewer.add_image(placed.data, **placed.kwargs, **look, name=f"{before.name} before | after")
        self._viewer.layers.selection.active = active
        self._viewer.dims.events.point.connect(self._on_slider)

    def shows(self, before: Any, after: Any) -> bool:
        """Whether it is these two layers that are shown."""
        return self._before is before and self._after is after

    def stop(self) -> None:
        """Take the layer away again."""
        self._before = self._after = None
        if self._shown is None:
            return
        self._viewer.dims.events.point.disconnect(self._on_slider)
        shown, self._shown, self._planes = self._shown, None, None
        if shown in self._viewer.layers:
            self._viewer.layers.remove(shown)

    def move(self, share: float) -> None:
        """Move the line to a share of the width."""
        self._share = share
        if self._shown is not None and self._planes is not None:
            self._shown.data = self._split()

    def _on_slider(self, event: Any = None) -> None:
        self._read()
        self.move(self._share)

    def _read(self) -> None:
        """Read the plane that is shown, of both; where the restored one does not have it, the original's twice."""
        if self._before not in self._viewer.layers or self._after not in self._viewer.layers:
            return
        try:
            before = _plane(self._before, self._viewer.dims)
            after = _plane(self._after, self._viewer.dims)
        except (InputError, IndexError):
            return
        self._planes = (before, after if after.shape == before.shape else before)

    def _split(self) -> NDArray[Any]:
        assert self._planes is not None
        before, after = self._planes
        edge = round(self._share * before.shape[1])
        split: NDArray[Any] = np.concatenate([before[:, :edge], after[:, edge:]], axis=1)
        return split


def _plane(layer: Any, dims: Any) -> NDArray[Any]:
    stack, shown = stack_of(layer), shown_at(layer, dims)
    return stack.plane(**{a.lower(): shown[a] for a in stack.axes if a in "PTCZ"})
