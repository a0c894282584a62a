"""`Found`: what a reader of one format found in a file, before its axes are named for focus stacking."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from napari_focusstack.core.lazy import PlaneArray
from napari_focusstack.core.stack import Optics


@dataclass(frozen=True)
class Found:
    """One image series of a file; lengths in µm, None where the file does not say.

    Attributes
    ----------
    data : PlaneArray
        Leading axes, then (Y, X) or (Y, X, 3).
    letters : str
        The file's own letter of each leading axis, none of length 1; ``"Q"`` where the file has no name for it.
    teller : str
        Who named the axes, for the user: ``"the OME metadata"``.
    series : str
        Name of the series within the file.
    files : tuple of Path
        The files that the planes lie in.
    notes : tuple of str
        What else to tell the user.
    """

    data: PlaneArray
    letters: str
    teller: str
    series: str = ""
    y_um: float | None = None
    x_um: float | None = None
    z_um: float | None = None
    z_positions_um: tuple[float, ...] | None = None
    channels: tuple[str, ...] = ()
    optics: Optics = field(default_factory=Optics)
    files: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def rgb(self) -> bool:
        """Whether a plane is (Y, X, 3)."""
        return self.data.ndim == len(self.letters) + 3
