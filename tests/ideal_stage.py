"""An ideal stage, for policies that are driven by formulas."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from napari_focusstack.core.autofocus import Look, Policy, Reading, Travel, Verdict


def drive(
    policy: Policy, travel: Travel, read: Callable[[float], Reading], *, most: int = 80
) -> tuple[Verdict, list[float], list[str]]:
    """Run a policy within its limits; returns its verdict, the heights and the phases."""
    moves = policy.moves(travel)
    move = next(moves)
    heights, phases = [], []
    for _ in range(most):
        assert travel.low_um <= move.target_um <= travel.high_um
        heights.append(move.target_um)
        phases.append(move.phase)
        try:
            move = moves.send(Look(move.target_um, read(move.target_um)))
        except StopIteration as end:
            return end.value, heights, phases
    pytest.fail(f"no end after {most} images: {np.round(heights[-8:], 2)}")
