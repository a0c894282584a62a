"""The maps that networks give beside the focus values: what they hold, and what their files are called."""

from __future__ import annotations

import re
from pathlib import Path

LAYERS = {
    "class": "focus class of each patch, 0 (in focus) to 9 (wholly blurred)",
    "certainty": "certainty of each patch, 0 to 1; 0 where there is nothing to judge by (of focus classes: below 0.05)",
    "in_focus": "probability that each patch is in focus, 0 to 1",
    "defocus_um": "signed defocus in µm, positive where the slice lies above what is in focus; NaN where empty",
    "cam": "where the network's score of the slice comes from (Grad-CAM++), 0 to 1",
    "weight": "how much the network weighs each patch, 0 or more",
    "distance": "distance index of each patch, -3 (objective too near) to 3 (too far), 0 in focus",
    "side": "how sure one image alone makes the sign of the defocus, 0 to 1",
}
"""What the maps that networks give beside the focus values hold."""


def name_beside(path: Path, part: str) -> str:
    """Name of a file beside another: ``maps.ome.tif`` and ``"class"`` give ``maps_class.ome.tif``."""
    ending = re.search(r"(\.ome)?\.tiff?$", path.name, re.IGNORECASE)
    stem = path.name if ending is None else path.name[: ending.start()]
    return f"{stem}_{part}{path.name[len(stem) :]}"
