from __future__ import annotations

from dataclasses import dataclass

import pytest

from napari_focusstack.core.errors import InputError
from napari_focusstack.core.progress import Job, Progress, drain, relay
from napari_focusstack.core.registry import Registry


def count(n: int) -> Job[str]:
    for i in range(n):
        yield Progress(i + 1, n)
    return "counted"


def test_a_job_returns_its_result_and_tells_every_step() -> None:
    steps: list[Progress] = []
    assert drain(count(3), steps.append) == "counted"
    assert [s.done for s in steps] == [1, 2, 3]


def test_a_relayed_job_fills_its_stretch_of_the_larger_one() -> None:
    def two() -> Job[str]:
        yield from relay(count(2), done=0, total=400)
        return (yield from relay(count(2), done=400, total=1000))

    steps: list[Progress] = []
    assert drain(two(), steps.append) == "counted"
    assert [(s.done, s.total) for s in steps] == [(200, 1000), (400, 1000), (700, 1000), (1000, 1000)]


def test_closing_a_relayed_job_runs_the_clean_up_of_the_inner_one() -> None:
    closed = []

    def inner() -> Job[None]:
        try:
            yield Progress(0, 1)
        finally:
            closed.append(True)

    outer = relay(inner(), done=0, total=1000)
    next(outer)
    outer.close()
    assert closed == [True]


@dataclass(frozen=True)
class Choice:
    name: str


def test_an_unknown_name_suggests_the_near_ones_or_lists_all() -> None:
    registry: Registry[Choice] = Registry("scorer")
    registry.add(Choice("tenengrad"))
    registry.add(Choice("brenner"))
    with pytest.raises(InputError, match="no scorer 'tenegrad': did you mean tenengrad"):
        registry["tenegrad"]
    with pytest.raises(InputError, match="choose one of tenengrad, brenner"):
        registry["xyz"]


def test_a_network_that_is_not_installed_is_told_how_to_get() -> None:
    registry: Registry[Choice] = Registry("scorer", listing="focusstack scorers", networks=["hhnet"])
    for i in range(20):
        registry.add(Choice(f"measure_{i}"))
    with pytest.raises(
        InputError, match=r"no scorer 'hhnet': no network of that name .*focusstack train hhnet"
    ) as told:
        registry["hhnet"]
    assert "measure" not in str(told.value)
    with pytest.raises(InputError, match="one of the 20 that 'focusstack scorers' lists"):
        registry["xyz"]


def test_a_name_is_registered_once() -> None:
    registry: Registry[Choice] = Registry("scorer")
    registry.add(Choice("a"))
    with pytest.raises(RuntimeError, match="registered twice"):
        registry.add(Choice("a"))
