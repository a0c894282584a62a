"""MMDF's classical opponents on the same patches: one thresholded measure each, and a support vector machine on all."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from napari_focusstack.core.measures import MEASURES

MARGIN_PX = 22


def features(tiles: np.ndarray) -> np.ndarray:
    """(K, 2 M) values of every measure on the middle 84×84 px of tiles (K, 128, 128), as they are and then smoothed.

    Many measures take noise for detail: smoothed by a Gaussian of 1 px they are stronger opponents.

    Contrast and brightness are set alike first (mean 128, standard deviation 40), as a threshold could not serve two
    cameras otherwise; then the logarithm is taken of what is positive. Noise and range are told to those that need it.
    """
    rows = []
    for tile in tiles:
        patch = tile[MARGIN_PX:-MARGIN_PX, MARGIN_PX:-MARGIN_PX].astype(np.float32)
        patch = 128 + 40 * (patch - patch.mean()) / max(float(patch.std()), 1e-9)
        rows.append(_values(patch) + _values(cv2.GaussianBlur(patch, (0, 0), 1.0)))
    found = np.asarray(rows, np.float64)
    positive = found.min(axis=0) > 0
    found[:, positive] = np.log(found[:, positive])
    return found


def _values(patch: np.ndarray) -> list[float]:
    return [float(m.score(patch, patch_px=84, value_range=(0.0, 255.0)).map.mean()) for m in MEASURES]


@dataclass(frozen=True)
class Threshold:
    """A cut of one number, on the side that suits it."""

    at: float
    sign: float
    accuracy: float = 0.0

    @classmethod
    def fit(cls, values: np.ndarray, focused: np.ndarray) -> Threshold:
        """The cut with the highest balanced accuracy."""
        best, chosen = -1.0, cls(0.0, 1.0)
        for at in np.unique(np.quantile(values, np.linspace(0.01, 0.99, 99))):
            for sign in (1.0, -1.0):
                said = sign * values > sign * at
                accuracy = (said[focused].mean() + (~said)[~focused].mean()) / 2
                if accuracy > best:
                    best, chosen = accuracy, cls(float(at), sign, accuracy)
        return chosen

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Whether each is in focus."""
        return self.sign * values > self.sign * self.at


def support_vectors(values: np.ndarray, focused: np.ndarray):  # type: ignore[no-untyped-def]
    """A radial support vector machine on standardised features; None where scikit-learn is not installed."""
    try:
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler
        from sklearn.svm import SVC
    except ModuleNotFoundError:
        return None
    return make_pipeline(StandardScaler(), SVC(class_weight="balanced")).fit(values, focused)
