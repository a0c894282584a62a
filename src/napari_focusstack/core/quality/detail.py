"""Metrics of the fused image alone: average gradient and spatial frequency."""

from __future__ import annotations

import numpy as np

from napari_focusstack.core.errors import InputError
from napari_focusstack.core.filters import Plane32, to_grey
from napari_focusstack.core.quality.base import Image, Known, Metric


def _differences(image: Image) -> tuple[Plane32, Plane32]:
    """Forward differences along y and x of the luma, (Y-1, X) and (Y, X-1)."""
    grey = to_grey(image)
    if min(grey.shape) < 2:
        raise InputError(f"An image of {grey.shape[0]}×{grey.shape[1]} pixels has no gradient: give 2×2 or more.")
    return grey[1:] - grey[:-1], grey[:, 1:] - grey[:, :-1]


def average_gradient(image: Image) -> float:
    r"""Average gradient, in grey levels per pixel of the image's own type (luma of colours).

    .. math::
        \frac{1}{(M-1)(N-1)} \sum_{i,j} \sqrt{\frac{(H_{i+1,j} - H_{i,j})^2 + (H_{i,j+1} - H_{i,j})^2}{2}}

    (m-SegNet's eq. 16.) Noise raises it as detail does: it tells methods apart on one stack, not images.

    Parameters
    ----------
    image : (Y, X) or (Y, X, 3) array
        2 × 2 pixels or more.

    References
    ----------
    Cui et al. 2015, Opt. Commun. 341:199
    """
    down, across = _differences(image)
    energy = np.square(down[:, :-1]) + np.square(across[:-1])
    return float(np.sqrt(energy / 2).mean(dtype=np.float64))


def spatial_frequency(image: Image) -> float:
    """Spatial frequency ``√(RF² + CF²)``, in grey levels per pixel: root mean squared differences along x and y.

    Parameters
    ----------
    image : (Y, X) or (Y, X, 3) array
        2 × 2 pixels or more.

    References
    ----------
    Eskicioglu & Fisher 1995, IEEE Trans. Commun. 43:2959
    """
    down, across = _differences(image)
    return float(np.sqrt(np.square(down).mean(dtype=np.float64) + np.square(across).mean(dtype=np.float64)))


AVERAGE_GRADIENT = Metric(
    "ag",
    "Average gradient",
    "grey/px",
    "itself",
    "How much brightness changes from pixel to pixel: the crisper, the higher. Noise raises it too, so the highest "
    "value is not always the best image.",
    "Cui et al. 2015, Opt. Commun. 341:199",
    lambda fused: Known(average_gradient(fused)),
)
SPATIAL_FREQUENCY = Metric(
    "sf",
    "Spatial frequency",
    "grey/px",
    "itself",
    "The typical step between neighbouring pixels; strong edges weigh more than in the average gradient. "
    "Noise raises it too.",
    "Eskicioglu & Fisher 1995, IEEE Trans. Commun. 43:2959",
    lambda fused: Known(spatial_frequency(fused)),
)
