"""Accuracies and errors with confidence intervals that resample whole stacks or images, never patches."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

RESAMPLES = 1000


@dataclass(frozen=True)
class Interval:
    """A figure and the middle 95 % of its resamples."""

    value: float
    low: float
    high: float
    groups: int
    patches: int

    def percent(self) -> str:
        """For a table."""
        if not np.isfinite(self.value):
            return "–"
        return f"{100 * self.value:.1f} ({100 * self.low:.1f}–{100 * self.high:.1f})"

    def number(self) -> str:
        """For a table."""
        return "–" if not np.isfinite(self.value) else f"{self.value:.2f} ({self.low:.2f}–{self.high:.2f})"


def balanced_accuracy(predicted: np.ndarray, truth: np.ndarray, groups: np.ndarray) -> Interval:
    """Mean of the shares of focused and of unfocused patches that were told right: half is chance."""

    def figure(chosen: np.ndarray) -> float:
        right, focused = (predicted == truth)[chosen], truth[chosen]
        if focused.all() or not focused.any():
            return np.nan
        return float((right[focused].mean() + right[~focused].mean()) / 2)

    return _resampled(figure, groups)


def by_stack(predicted: np.ndarray, truth: np.ndarray, groups: np.ndarray) -> Interval:
    """Balanced accuracy within each stack, and the mean over stacks: a large one counts like a small one."""
    both = {}
    for name in np.unique(groups):
        focused, right = truth[groups == name], (predicted == truth)[groups == name]
        if focused.any() and not focused.all():
            both[name] = (right[focused].mean() + right[~focused].mean()) / 2
    names = np.array(list(both))
    return _resampled(lambda chosen: float(np.mean([both[n] for n in names[chosen]])), names)


def median(errors: np.ndarray, groups: np.ndarray) -> Interval:
    """Median of errors; NaN are left out."""
    kept = np.isfinite(errors)
    return _resampled(lambda chosen: float(np.median(errors[kept][chosen])) if len(chosen) else np.nan, groups[kept])


def _resampled(figure, groups: np.ndarray) -> Interval:  # type: ignore[no-untyped-def]
    names = np.unique(groups)
    if not len(names):
        return Interval(np.nan, np.nan, np.nan, 0, 0)
    members = {name: np.flatnonzero(groups == name) for name in names}
    random = np.random.default_rng(0)
    values = []
    for _ in range(RESAMPLES if len(names) > 1 else 0):
        drawn = random.choice(names, len(names))
        values.append(figure(np.concatenate([members[name] for name in drawn])))
    values = [v for v in values if np.isfinite(v)]
    low, high = np.quantile(values, (0.025, 0.975)) if values else (np.nan, np.nan)
    return Interval(figure(np.arange(len(groups))), float(low), float(high), len(names), len(groups))
