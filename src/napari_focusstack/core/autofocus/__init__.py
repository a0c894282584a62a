"""Closed-loop autofocus: policies (`index`, `jumps`, `search`, `spectra`), sensors, and the loop that joins them."""

from napari_focusstack.core.autofocus.base import Look, Move, Policy, Reading, Sensor, Travel, Verdict
from napari_focusstack.core.autofocus.guided import GuidedPolicy
from napari_focusstack.core.autofocus.index import PAPER_SPEEDS, IndexPolicy, Speeds
from napari_focusstack.core.autofocus.jumps import JumpPolicy
from napari_focusstack.core.autofocus.loop import (
    Focused,
    Focuser,
    LoopSettings,
    Seen,
    StageError,
    Step,
    focusing,
    going,
)
from napari_focusstack.core.autofocus.search import CurvePolicy
from napari_focusstack.core.autofocus.spectra import SpectraPolicy

__all__ = [
    "PAPER_SPEEDS",
    "CurvePolicy",
    "Focused",
    "Focuser",
    "GuidedPolicy",
    "IndexPolicy",
    "JumpPolicy",
    "Look",
    "LoopSettings",
    "Move",
    "Policy",
    "Reading",
    "Seen",
    "Sensor",
    "SpectraPolicy",
    "Speeds",
    "StageError",
    "Step",
    "Travel",
    "Verdict",
    "focusing",
    "going",
]
