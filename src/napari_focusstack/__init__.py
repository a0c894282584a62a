"""Focus analysis and focus stacking of z-stacks, in napari, from the command line and from Python.

>>> import napari_focusstack as focusstack
>>> stack = focusstack.read_stack("A01.ome.tif")
>>> focusstack.score(stack).decision.best
>>> focusstack.write_fused("A01_fused.ome.tif", focusstack.fuse(stack), stack)

Everything below is loaded when it is first asked for.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_focusstack.core.errors import InputError
    from napari_focusstack.core.fusion.fused import Fused
    from napari_focusstack.core.pipeline import fuse, score
    from napari_focusstack.core.quality import psnr, ssim
    from napari_focusstack.core.report import Decision, FocusReport
    from napari_focusstack.core.stack import Optics, Stack, from_array
    from napari_focusstack.io.read import read_stack, read_stacks
    from napari_focusstack.io.write import write_fused

__version__ = "0.1.0"

_HOMES = {
    "Decision": "core.report",
    "FocusReport": "core.report",
    "Fused": "core.fusion.fused",
    "InputError": "core.errors",
    "Optics": "core.stack",
    "Stack": "core.stack",
    "from_array": "core.stack",
    "fuse": "core.pipeline",
    "psnr": "core.quality",
    "read_stack": "io.read",
    "read_stacks": "io.read",
    "score": "core.pipeline",
    "ssim": "core.quality",
    "write_fused": "io.write",
}

__all__ = [
    "Decision",
    "FocusReport",
    "Fused",
    "InputError",
    "Optics",
    "Stack",
    "from_array",
    "fuse",
    "psnr",
    "read_stack",
    "read_stacks",
    "score",
    "ssim",
    "write_fused",
]


def __getattr__(name: str) -> Any:
    """Load a public name from its home (PEP 562), so that importing the package costs nothing."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    """The public names, for completion: those that are not loaded yet too, and none of what loads them."""
    return sorted([*__all__, *(name for name in globals() if name.startswith("__"))])
