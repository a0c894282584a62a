"""Memory for large activations: kept from one layer to the next instead of given back and fetched anew."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from threading import Lock
from typing import TYPE_CHECKING, Any

import psutil

if TYPE_CHECKING:
    import torch

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -3, -4, -8
KEPT_BYTES = 512 << 20
"""Free memory that the process may hold on to."""
MAPPED_BYTES = 32 << 20
"""From this size on, arrays get a mapping of their own while no network runs: the largest threshold there is."""
DEFAULT_MAPPINGS = 65536

_lock = Lock()
_running = 0


def free_bytes(device: torch.device) -> int:
    """Memory that is free on a device."""
    import torch

    return int(torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else psutil.virtual_memory().available)


@contextmanager
def kept_memory() -> Iterator[None]:
    """While this lasts, glibc serves large arrays from its heap.

    It maps them one by one otherwise, so that each layer of a network waits for the system to fetch and clear its
    pages anew: 1.2 to 1.5 times the time of a forward pass. What other arrays take while no network runs is given back
    as ever. Does nothing where the C library is another.
    """
    mallopt = _mallopt()
    if mallopt is None:
        yield
        return
    _count(mallopt, 1)
    try:
        yield
    finally:
        _count(mallopt, -1)


def _count(mallopt: Any, step: int) -> None:
    """Networks may run in several threads: the first switches over, the last one back."""
    global _running
    with _lock:
        before, _running = _running, _running + step
        if before == 0:
            mallopt(M_MMAP_MAX, 0)
        elif _running == 0:
            mallopt(M_MMAP_MAX, DEFAULT_MAPPINGS)


@cache
def _mallopt() -> Any:
    """glibc's `mallopt`, its thresholds set; None elsewhere."""
    if sys.platform != "linux":
        return None
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return None
    # Once networks run in threads, a heap each would hold on to as much each, and none can grow beyond 64 MB.
    mallopt(M_ARENA_MAX, 1)
    mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)
    mallopt(M_MMAP_THRESHOLD, MAPPED_BYTES)
    return mallopt
