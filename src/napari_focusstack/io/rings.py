"""On which side of focus an objective shows rings: found once on a stack, remembered for single images."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Literal

from napari_focusstack.core.stack import Optics
from napari_focusstack.io.atomic import replacing
from napari_focusstack.networks.zoo import user_folder

Side = Literal["below", "above"]


def rings_file() -> Path:
    """Where it is remembered: beside the user's own models."""
    return user_folder() / "rings.json"


def remember_rings(na: float, side: Side) -> Path:
    """Remember the side for objectives of this aperture; the file is returned."""
    path = rings_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    content = json.dumps(_read() | {_key(na): side}, indent=2) + "\n"
    with replacing(path, overwrite=True) as part:
        part.write_text(content, encoding="utf-8")
    return path


def with_known_rings(optics: Optics) -> Optics:
    """Optics with the remembered side of their aperture, where they don't tell one themselves."""
    if optics.rings is not None or optics.na is None:
        return optics
    side = _read().get(_key(optics.na))
    return optics if side is None else replace(optics, rings=side)


def _key(na: float) -> str:
    return f"{na:.2f}"


def _read() -> dict[str, Side]:
    """What is remembered; nothing where the file is missing or damaged: it can be found anew."""
    try:
        content = json.loads(rings_file().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    known = content if isinstance(content, dict) else {}
    return {str(na): side for na, side in known.items() if side in ("below", "above")}
