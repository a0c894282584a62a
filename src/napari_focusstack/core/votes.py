"""From what a network says of patches to what it says of their image, and from images to a focus between them.

HH-Net's three ways to vote (Ge et al. 2020, 2.2.4) over ordered classes, the distance indices -3 … 3. The paper names
linear-weighted voting without a formula; here a patch votes for its class with the probability that it gives it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Distribution = NDArray[np.float64]

DISTANCES = (-3, -2, -1, 0, 1, 2, 3)
"""Distance index of each class of HH-Net: below 0 the objective is too near the specimen, above 0 too far."""

EVIDENCE = 0.2
"""An image of less certainty than this holds nothing to judge by: between two classes it is 0.64, over four 0.29."""


def certainty(p: NDArray[np.floating[Any]]) -> Distribution:
    """Eq. 14: ``1 + sum_k p_k log p_k / log C`` of distributions (..., C): 0 (all alike) … 1 (one class).

    The paper prints the sign of the sum the other way round, which would leave 0 … 1.
    """
    q = np.asarray(p, np.float64)
    entropy = -(q * np.log(np.where(q > 0, q, 1.0))).sum(axis=-1)
    return np.asarray(np.clip(1 - entropy / math.log(q.shape[-1]), 0.0, 1.0))


def hard_vote(p: NDArray[np.floating[Any]], weights: NDArray[np.floating[Any]] | None = None) -> Distribution:
    """Share of the patches that have each class as their likeliest.

    Parameters
    ----------
    p : (N, C) array
        Distribution of each patch.
    weights : (N,) array, optional
        How much each patch counts beside.

    Returns
    -------
    (C,) float64
        Sums to 1; all classes alike where no patch counts.
    """
    return _pooled(_own_class(p), np.ones(len(p)), weights)


def linear_vote(p: NDArray[np.floating[Any]], weights: NDArray[np.floating[Any]] | None = None) -> Distribution:
    """As `hard_vote`, each patch with the probability of its own class as weight."""
    return _pooled(_own_class(p), np.asarray(p).max(axis=1), weights)


def certainty_vote(p: NDArray[np.floating[Any]], weights: NDArray[np.floating[Any]] | None = None) -> Distribution:
    """Mean of the patches' distributions, each weighted by its certainty; arguments and result as `hard_vote`."""
    return _pooled(np.asarray(p, np.float64), certainty(p), weights)


VOTES = {"hard": hard_vote, "linear": linear_vote, "certainty": certainty_vote}
"""The ways to vote by name."""


def _own_class(p: NDArray[np.floating[Any]]) -> Distribution:
    own: Distribution = np.eye(np.shape(p)[1])[np.argmax(p, axis=1)]
    return own


def _pooled(
    shares: Distribution, own: NDArray[np.floating[Any]], weights: NDArray[np.floating[Any]] | None
) -> Distribution:
    w = np.asarray(own, np.float64) * (1.0 if weights is None else np.asarray(weights, np.float64))
    total = float(w.sum())
    if not total > 0:
        return np.full(shares.shape[1], 1 / shares.shape[1])
    return np.asarray(w @ shares / total)


@dataclass(frozen=True, eq=False)
class ImageDistance:
    """How far an image is from focus.

    Attributes
    ----------
    distribution : (7,) float64
        Of the classes `DISTANCES`, by `certainty_vote`.
    """

    distribution: Distribution

    @classmethod
    def of(cls, p: NDArray[np.floating[Any]], weights: NDArray[np.floating[Any]] | None = None) -> ImageDistance:
        """Let the patches of an image vote; shapes (..., 7) and (...)."""
        flat = np.asarray(p).reshape(-1, np.shape(p)[-1])
        return cls(certainty_vote(flat, None if weights is None else np.ravel(weights)))

    @property
    def distance(self) -> int:
        """Likeliest class, -3 … 3."""
        return DISTANCES[int(self.distribution.argmax())]

    @property
    def index(self) -> float:
        """Mean over the classes, -3 … 3: moves steadily with z where the class jumps."""
        return float(self.distribution @ np.asarray(DISTANCES, np.float64))

    @property
    def certainty(self) -> float:
        """Certainty of the distribution, 0 … 1."""
        return float(certainty(self.distribution))

    @property
    def evidence(self) -> bool:
        """Whether there is anything to judge by: `EVIDENCE` at least."""
        return self.certainty >= EVIDENCE


WIDEST_GAP = 2
"""Slices from one that is judged to the next between which the index may change its side."""


@dataclass(frozen=True)
class Crossing:
    """Where the distance index goes through zero.

    Attributes
    ----------
    slice : float
        Position between the slices.
    rising : bool
        Whether the index rises from slice to slice.
    """

    slice: float
    rising: bool


def zero_crossing(index: NDArray[np.floating[Any]], weights: NDArray[np.floating[Any]]) -> Crossing | None:
    """Where indices over the slices change their side.

    Of all places between two slices, and both directions, that one is taken that leaves the least (weighted squares)
    on the wrong side; then the zero of the line between the two slices. Slices without weight are passed over.

    Parameters
    ----------
    index : (Z,) array
        Distance index of each slice, in order.
    weights : (Z,) array
        How certain each is; 0: it does not count.

    Returns
    -------
    Crossing or None
        None where all slices lie on one side, or more than one without weight lies between the sides.
    """
    known = np.flatnonzero(np.asarray(weights) > 0)
    x, w = np.asarray(index, np.float64)[known], np.asarray(weights, np.float64)[known]
    above, below = w * np.maximum(x, 0) ** 2, w * np.minimum(x, 0) ** 2
    candidates: list[tuple[float, int, bool]] = []
    for rising in (True, False):
        early, late = (above, below) if rising else (below, above)
        wrong = np.concatenate([[0.0], np.cumsum(early)]) + np.concatenate([np.cumsum(late[::-1])[::-1], [0.0]])
        k = int(wrong.argmin())
        candidates.append((float(wrong[k]), k, rising))
    _, k, rising = min(candidates)
    if not 0 < k < len(x) or known[k] - known[k - 1] > WIDEST_GAP:
        return None
    low, high = (x[k - 1], x[k]) if rising else (-x[k - 1], -x[k])
    share = float(min(max(-low / (high - low), 0.0), 1.0)) if high > low else 0.5
    return Crossing(float(known[k - 1] + share * (known[k] - known[k - 1])), rising)
