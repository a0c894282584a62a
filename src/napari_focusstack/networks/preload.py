"""Loading torch without stopping the other threads."""

from __future__ import annotations

import ctypes
import importlib.util
import sys
from pathlib import Path

LIBRARIES = {"linux": "libtorch_cpu.so", "darwin": "libtorch_cpu.dylib"}


def preload_torch() -> None:
    """Map torch's largest library into memory, so that ``import torch`` finds it there.

    Python holds its lock while an import loads a library: half a second to more than a second for this one, in which
    no window answers, whatever thread imports. A foreign function gives the lock up. Does nothing where torch is loaded
    already, not installed, or on a system without ``dlopen``.
    """
    name = LIBRARIES.get(sys.platform)
    if name is None or "torch" in sys.modules:
        return
    found = importlib.util.find_spec("torch")
    if found is None or not found.submodule_search_locations:
        return
    library = Path(found.submodule_search_locations[0]) / "lib" / name
    if library.is_file():
        load = ctypes.CDLL(None).dlopen
        load.restype, load.argtypes = ctypes.c_void_p, (ctypes.c_char_p, ctypes.c_int)
        load(str(library).encode(), 2)  # RTLD_NOW: nothing is left to be looked up later, under the lock
