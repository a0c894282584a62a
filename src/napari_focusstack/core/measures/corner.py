"""Corner measures: a sharp image changes in every direction at once."""

from __future__ import annotations

import cv2
import numpy as np

from napari_focusstack.core.filters import Plane32, area_mean
from napari_focusstack.core.measures.base import Measure, PlaneInfo
from napari_focusstack.core.report import Map

HARRIS_K = 0.04
WINDOW_SIGMA_PX = 1.5


def harris_response(plane: Plane32) -> Plane32:
    """Modified Harris corner response, ``√|det M - k·(trace M)²|``, as MMDF makes focus masks of it.

    M holds the products of Sobel's derivatives, averaged by a Gaussian of 1.5 px; k = 0.04. Harris and Stephens (1988)
    look for corners: their response is negative along edges, which are in focus just as well. So its modulus is taken
    (after Sigdel et al. 2015, who stack microscopic images by it; neither paper that we hold prints the equation), and
    its root, which grows with the image's contrast as other energies do.

    Parameters
    ----------
    plane : (Y, X) float32 array
        Grey.

    Returns
    -------
    (Y, X) float32 array
        In grey²/px².
    """
    gx = cv2.Sobel(plane, cv2.CV_32F, 1, 0, scale=1 / 8)
    gy = cv2.Sobel(plane, cv2.CV_32F, 0, 1, scale=1 / 8)
    xx, yy, xy = (cv2.GaussianBlur(a * b, (0, 0), WINDOW_SIGMA_PX) for a, b in ((gx, gx), (gy, gy), (gx, gy)))
    trace = xx + yy
    # Scaled before it is squared: 16 bit gradients to the eighth power leave float32.
    top = max(float(trace.max()), 1e-30)
    xx, yy, xy, trace = xx / top, yy / top, xy / top, trace / top
    response: Plane32 = top * np.sqrt(np.abs(xx * yy - xy * xy - HARRIS_K * trace * trace))
    return response


def harris(plane: Plane32, info: PlaneInfo) -> Map:
    """Mean of `harris_response`."""
    return area_mean(harris_response(plane), info.grid.shape)


MEASURES = (
    Measure(
        "harris",
        "Modified Harris response",
        "gradient",
        "grey²/px²",
        "How much the image changes in two directions at once: corners and texture count more than single edges.",
        "Sigdel et al. 2015, IEEE/ACM Trans. Comput. Biol. Bioinform.; Kornilova et al. 2020, MMDF",
        harris,
    ),
)
