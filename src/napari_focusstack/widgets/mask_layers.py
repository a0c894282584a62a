"""The layers of *Focus masks*: labels that follow a threshold, and the probability beside them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from napari.utils.colormaps import DirectLabelColormap

from napari_focusstack.core.masks import FocusMasks, MaskMethod, focus_masks
from napari_focusstack.core.progress import Job
from napari_focusstack.core.stack import Stack
from napari_focusstack.widgets.fading import fading, show_colours
from napari_focusstack.widgets.layers import Frame, Placed, place
from napari_focusstack.widgets.renewal import renewed

COLOUR = "#009e73"
"""Of what is in focus (Okabe and Ito 2008)."""
OPACITY = 0.45
ROLE = "focus masks"


@dataclass(frozen=True, eq=False)
class MaskSource:
    """What is masked.

    Attributes
    ----------
    stack : Stack
        One series: axes ZYX or ZYXS.
    frame : Frame
        How its layer lies in the world.
    at : mapping of str to int
        Time and position, where the layer has those axes.
    """

    stack: Stack
    frame: Frame
    at: Mapping[str, int]


@dataclass(frozen=True)
class MaskJob:
    """Makes the job, in the worker's thread."""

    source: MaskSource
    method: MaskMethod

    def __call__(self) -> Job[FocusMasks]:
        """Start masking."""
        return focus_masks(self.source.stack, self.method)


def key_of(source: MaskSource, masks: FocusMasks) -> tuple[Any, ...]:
    """What tells one result from another: the layer, time and position that were masked, and the method."""
    return (source.frame.layer_id, *sorted(source.at.items()), masks.method)


class MaskResult:
    """Masks in the viewer. The labels follow `threshold` at once, as long as nobody has painted on them.

    Parameters
    ----------
    viewer : napari viewer
        Where the layers go.
    source : MaskSource
        What was masked.
    masks : FocusMasks
        What was found.
    threshold : float
        To begin with.
    """

    def __init__(self, viewer: Any, source: MaskSource, masks: FocusMasks, threshold: float) -> None:
        self.viewer, self.source, self.masks, self.threshold = viewer, source, masks, threshold
        self.labels: Any = None
        self.probability: Any = None
        self.painted = False
        self._add_labels()

    def _add_labels(self) -> None:
        self.painted = False
        placed = self._placed(self.masks.mask(self.threshold))
        colours = DirectLabelColormap(color_dict={0: "transparent", 1: COLOUR, None: "transparent"})
        self.labels = self.viewer.add_labels(
            placed.data,
            **placed.kwargs,
            name=self._name("in focus"),
            opacity=OPACITY,
            colormap=colours,
        )
        self.labels.events.paint.connect(self._on_paint)

    def renew(self, source: MaskSource, masks: FocusMasks, threshold: float) -> None:
        """Take a newer result of the same key into the layers; labels that somebody changed stay beside new ones."""
        flat = None if self.labels is None else self._flat(self.labels.data)
        changed = self.painted or flat is None or not np.array_equal(flat, self.masks.mask(self.threshold))
        self.source, self.masks, self.threshold = source, masks, threshold
        if changed or not renewed(self.labels, self._placed(masks.mask(threshold)), self._name("in focus")):
            self.release()
            self._add_labels()
        if self.probability is not None:
            placed = self._placed(masks.probability())
            if not renewed(self.probability, placed, self._name("probability")):
                self.show_probability(False)
                self.show_probability(True)

    def set_threshold(self, threshold: float) -> None:
        """Let the labels follow; where they were painted on, that layer stays as it is and another one follows."""
        self.threshold = threshold
        if self.labels is None or self.painted:
            self.release()
            self._add_labels()
            return
        self.masks.mask(threshold, out=self._flat(self.labels.data))
        self.labels.metadata["napari_focusstack"]["parameters"]["threshold"] = threshold
        self.labels.refresh()

    def show_probability(self, shown: bool) -> None:
        """Add the probability as an image layer, or take it away."""
        if shown and self.probability is None:
            placed = self._placed(self.masks.probability())
            self.probability = self.viewer.add_image(
                placed.data,
                **placed.kwargs,
                name=self._name("probability"),
                colormap=fading("viridis", name="probability"),
                contrast_limits=(0, 1),
                blending="translucent",
                opacity=0.6,
            )
            show_colours(self.probability)
        elif not shown and self.probability is not None:
            layer, self.probability = self.probability, None
            self.viewer.layers.remove(layer)

    def edited(self) -> Any:
        """(Z, Y, X) what the labels hold, where they were painted on; else None."""
        return self._flat(self.labels.data).copy() if self.painted and self.labels is not None else None

    def forget(self, layer: Any) -> None:
        """A layer was deleted."""
        if layer is self.labels:
            self.release()
        if layer is self.probability:
            self.probability = None

    def release(self) -> None:
        """Let go of the labels: they stay in the viewer as they are."""
        if self.labels is not None:
            self.labels.events.paint.disconnect(self._on_paint)
            self.labels = None

    def _on_paint(self, event: Any = None) -> None:
        self.painted = True

    def _name(self, what: str) -> str:
        return f"{what} {self.source.frame.name} ({self.masks.method})"

    def _flat(self, data: Any) -> Any:
        return data.reshape(self.masks.levels.shape)

    def _placed(self, data: Any) -> Placed:
        """A result of the stack's size as a layer; shown at its own time and position only."""
        frame = self.source.frame
        # A single plane's layer has no z; axes of time and position get a length of 1.
        axes = "".join(a for a in "PT" if a in self.source.at) + ("ZYX" if "Z" in frame.axes else "YX")
        shape = [data.shape["ZYX".index(a)] if a in "ZYX" else 1 for a in axes]
        said = {
            "role": ROLE,
            "method": self.masks.method,
            "parameters": {**self.masks.parameters, "threshold": self.threshold},
        }
        return place(np.reshape(data, shape), axes, like=frame, at=self.source.at, provenance=said)
