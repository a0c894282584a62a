"""Memory kept between layers: fewer pages fetched, and the usual way again afterwards."""

import subprocess
import sys

import pytest

from napari_focusstack.networks import memory

COUNT_PAGES = """
import resource
import numpy as np
from napari_focusstack.networks.memory import kept_memory

def fetched():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        np.ones(48 << 17)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

usual = fetched()
with kept_memory():
    fetched()
    print(usual, fetched())
"""


@pytest.mark.skipif(memory._mallopt() is None, reason="another C library")
def test_large_arrays_take_the_memory_of_those_before_them():
    said = subprocess.run([sys.executable, "-c", COUNT_PAGES], capture_output=True, text=True, check=True).stdout
    usual, kept = map(int, said.split())
    assert kept < 0.2 * usual


def test_the_first_network_switches_over_and_the_last_one_back(monkeypatch):
    set_to = []
    monkeypatch.setattr(memory, "_mallopt", lambda: lambda option, value: set_to.append((option, value)))
    with memory.kept_memory(), memory.kept_memory():
        pass
    with pytest.raises(ZeroDivisionError), memory.kept_memory():
        _ = 1 / 0
    assert set_to == 2 * [(memory.M_MMAP_MAX, 0), (memory.M_MMAP_MAX, memory.DEFAULT_MAPPINGS)]
