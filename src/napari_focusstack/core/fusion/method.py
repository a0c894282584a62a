"""What a fusion method is, what it is given, and what it gives back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from napari_focusstack.core.progress import Job
from napari_focusstack.core.registry import Choice, Registry

Plane = NDArray[Any]
Plane32 = NDArray[np.float32]


@dataclass(frozen=True)
class Series:
    """The slices that a method fuses. Each is read when it is asked for; a method may ask again.

    Attributes
    ----------
    read : callable
        ``read(i)`` gives slice `i` of ``0 … n-1``: (Y, X) or (Y, X, K) with K colour samples or channels.
    n : int
        Number of slices, 2 or more.
    shape : tuple of int
        Shape of a slice.
    dtype : dtype
        Type of its pixels.
    mix : tuple of float
        How much each of the K samples counts in the guide, the grey plane whose sharpness decides. ``(1.0,)`` for grey.
    positions : (n,) float64, optional
        Where the slices lie along z, in any unit; evenly where not given. See `heights`.
    zero : float
        The value that stands for no light: not 0 where the values of the source were shifted.
    device : str
        Where networks compute, a `DeviceChoice`; classical methods take the CPU.
    """

    read: Callable[[int], Plane]
    n: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    mix: tuple[float, ...] = (1.0,)
    positions: NDArray[np.float64] | None = None
    zero: float = 0.0
    device: str = "auto"

    def __len__(self) -> int:
        return self.n

    @property
    def plane_shape(self) -> tuple[int, int]:
        """(Y, X) of a slice in pixels."""
        return self.shape[0], self.shape[1]

    @property
    def heights(self) -> NDArray[np.float64]:
        """(n,) where the slices lie along z, in any unit."""
        return np.arange(self.n, dtype=np.float64) if self.positions is None else self.positions

    def image(self, i: int) -> Plane:
        """Slice `i` in its own type, (Y, X) or (Y, X, K)."""
        return self.read(i)

    def guide(self, i: int) -> Plane32:
        """Slice `i` as the (Y, X) float32 plane whose sharpness decides, in the slice's own grey levels."""
        return self.grey(np.ascontiguousarray(self.read(i), np.float32)).copy()

    def grey(self, samples: Plane32, out: Plane32 | None = None) -> Plane32:
        """Mix the samples of a (Y, X) or (Y, X, K) float32 array to (Y, X). Being linear, it fits coefficients too.

        A (Y, X) array is given back as it is; else the mix is written to `out` where that is given.
        """
        if samples.ndim == 2:
            return samples
        mixed: Plane32 = cv2.transform(samples, self._matrix, out)
        return mixed

    @cached_property
    def _matrix(self) -> NDArray[np.float32]:
        return np.asarray([self.mix], np.float32)


@dataclass(frozen=True)
class Merged:
    """What a method makes of a `Series`.

    Attributes
    ----------
    image : (Y, X) or (Y, X, K) float32
        The fused image in the slices' own grey levels; it may overshoot their type.
    index : (Y, X) uint16
        Slice of the series that each pixel mostly came from.
    peak : (Y, X) float32
        Position of the sharpest point in slices, between slices too, within half a slice of `index` where there is
        evidence.
    confidence : (Y, X) float32
        How clearly that slice stands out, 0 (no evidence) to 1.
    """

    image: Plane32
    index: NDArray[np.uint16]
    peak: Plane32
    confidence: Plane32


class FusionMethod(Choice, Protocol):
    """Turns a `Series` into a `Merged`."""

    @property
    def parameters(self) -> Mapping[str, Any]:
        """Everything that the result depends on beside the pixels, as plain values, for the provenance."""
        ...

    def merge(self, series: Series) -> Job[Merged]:
        """Fuse as a job that yields `Progress` after every slice (of every pass)."""
        ...


@dataclass(frozen=True)
class ClassicalMethod:
    """A method that is a generator function and its parameters.

    Attributes
    ----------
    name, title, description, reference : str
        See `FusionMethod`.
    function : callable
        ``function(series, **parameters)``, the job.
    parameters : mapping
        Keyword arguments of `function`.
    """

    name: str
    title: str
    description: str
    reference: str
    function: Callable[..., Job[Merged]]
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def merge(self, series: Series) -> Job[Merged]:
        """Fuse as a job that yields `Progress` after every slice."""
        return self.function(series, **self.parameters)


NETWORKS = ("ifcnn", "fusegan", "segnet", "unet_mask")
"""Names under which networks that fuse are usually installed, beside those that come with the package."""
METHODS: Registry[FusionMethod] = Registry("fusion method", networks=NETWORKS)
