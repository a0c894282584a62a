"""How well scores agree with what is known of a stack: rank correlation, and hits of the clearest slice.

Wang et al. 2021 (Appl. Sci. 11:10293), section 4.2. Their eq. 13 is misprinted: Spearman's ρ is meant.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray


def ranks(values: ArrayLike) -> NDArray[np.float64]:
    """Ranks from 0; ties share the mean of theirs."""
    v = np.asarray(values, np.float64)
    _, where, counts = np.unique(v, return_inverse=True, return_counts=True)
    last = np.cumsum(counts) - 1
    means: NDArray[np.float64] = (last - (counts - 1) / 2)[where]
    return means


def spearman(found: ArrayLike, true: ArrayLike) -> float:
    """Spearman's rank correlation of two sequences, -1 … 1; NaN where one of them is constant."""
    a, b = ranks(found), ranks(true)
    a, b = a - a.mean(), b - b.mean()
    spread = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / spread if spread > 0 else float("nan")


@dataclass(frozen=True)
class Truth:
    """What is known of a stack.

    Attributes
    ----------
    best : int
        The clearest slice, 0-based.
    accepted : (int, int)
        First and last slice that would do as well.
    scores : sequence of float or None
        How clear each slice is, where known; else closeness to `accepted` is taken for it.
    """

    best: int
    accepted: tuple[int, int]
    scores: Sequence[float] | None = None

    def clearness(self, slices: int) -> NDArray[np.float64]:
        """(Z,) how clear each slice is; only the order means something."""
        if self.scores is not None:
            return np.asarray(self.scores, np.float64)
        z = np.arange(slices)
        outside = np.maximum(self.accepted[0] - z, z - self.accepted[1]).clip(min=0)
        return np.where(outside > 0, -1.0 - outside, np.where(z == self.best, 0.0, -1.0))


@dataclass(frozen=True)
class Agreement:
    """How well one scorer did on one stack.

    Attributes
    ----------
    found : int or None
        The slice it takes for the clearest; None where it says that none is in focus.
    off : int or None
        Slices between that and the true one.
    accepted : bool
        Whether it lies in the accepted range.
    rho : float
        Spearman's rank correlation of its curve with the truth.
    """

    found: int | None
    off: int | None
    accepted: bool
    rho: float


def agreement(values: ArrayLike, truth: Truth, *, found: int | None) -> Agreement:
    """Compare a curve of (Z,) values and the slice chosen by it with the truth."""
    v = np.asarray(values, np.float64)
    rho = spearman(v, truth.clearness(len(v)))
    if found is None:
        return Agreement(None, None, False, rho)
    low, high = truth.accepted
    return Agreement(found, abs(found - truth.best), low <= found <= high, rho)


@dataclass(frozen=True)
class Summary:
    """The columns of the paper's table 1.

    Attributes
    ----------
    stacks : int
        How many there were.
    t0, t1 : int
        Stacks in which the clearest slice was hit, and those in which a neighbour of it was chosen.
    accepted : int
        Stacks in which a slice of the accepted range was chosen.
    rho : float
        Mean rank correlation over the stacks; NaN where there is none.
    """

    stacks: int
    t0: int
    t1: int
    accepted: int
    rho: float

    @property
    def acc(self) -> float:
        """Share of stacks in which the clearest slice or a neighbour of it was chosen, 0…1."""
        return (self.t0 + self.t1) / self.stacks


def summary(results: Sequence[Agreement]) -> Summary:
    """Sum up one scorer's results on one stack or more."""
    rhos = [r.rho for r in results if np.isfinite(r.rho)]
    return Summary(
        stacks=len(results),
        t0=sum(r.off == 0 for r in results),
        t1=sum(r.off == 1 for r in results),
        accepted=sum(r.accepted for r in results),
        rho=float(np.mean(rhos)) if rhos else float("nan"),
    )
