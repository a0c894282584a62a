"""Long work is a generator that yields `Progress` and returns its result: one path for scripts, CLI and widgets."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Progress:
    """A step of a long job.

    Attributes
    ----------
    done, total : int
        Units finished, and units in all (slices, tiles, batches); ``0 <= done <= total``.
    message : str
        What is being done, for a person.
    partial : object, optional
        What is already known, e.g. the score of the slice just finished.
    """

    done: int
    total: int
    message: str = ""
    partial: Any = None


Job = Generator[Progress, None, T]
"""A long job: yields `Progress` often enough for *Cancel* to answer at once; returns its result; close it to cancel."""


def drain(job: Job[T], on_progress: Callable[[Progress], object] | None = None) -> T:
    """Run a job to its end and return its result, telling `on_progress` each step."""
    while True:
        try:
            step = next(job)
        except StopIteration as end:
            result: T = end.value
            return result
        if on_progress is not None:
            on_progress(step)


def by_tiles(tiles: Generator[tuple[int, int], None, T]) -> Job[T]:
    """A job of what yields (tiles done, tiles in all), as networks do, which know nothing of `Progress`."""
    while True:
        try:
            done, total = next(tiles)
        except StopIteration as end:
            result: T = end.value
            return result
        yield Progress(done, total, f"tile {done} of {total}")


def changed(job: Job[T], change: Callable[[Progress], Progress]) -> Job[T]:
    """The job with each of its steps changed; it is closed with this one."""
    with contextlib.closing(job):
        while True:
            try:
                step = next(job)
            except StopIteration as end:
                result: T = end.value
                return result
            yield change(step)


def relay(job: Job[T], *, done: float, total: float, message: str = "") -> Job[T]:
    """Run `job` as the stretch ``done … total`` (fractions of 1000) of a larger job; return its result."""

    def stretch(step: Progress) -> Progress:
        share = step.done / step.total if step.total else 1.0
        return Progress(round(done + share * (total - done)), 1000, message or step.message, step.partial)

    return changed(job, stretch)
