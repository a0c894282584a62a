"""Slices picked by hand, one for each layer, position and time point; immutable, so that undo is a list of them."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass

COLUMNS = ("stack", "position", "time", "slice", "z_um", "by", "proposed", "confidence")


@dataclass(frozen=True)
class Pick:
    """One picked slice.

    Attributes
    ----------
    stack : str
        Name of the stack (layer or file).
    slice : int
        Picked slice, 0-based.
    position, time : int
        Stage position and time point, 0-based.
    z_um : float or None
        Height of the slice, where known.
    by : str
        ``"hand"``, or the name of the scorer whose proposal was accepted.
    proposed : int or None
        What was proposed when the pick was made.
    confidence : float or None
        Confidence of that proposal.
    """

    stack: str
    slice: int
    position: int = 0
    time: int = 0
    z_um: float | None = None
    by: str = "hand"
    proposed: int | None = None
    confidence: float | None = None

    @property
    def key(self) -> tuple[str, int, int]:
        """What it is a pick for: one pick for each stack, position and time point."""
        return self.stack, self.position, self.time


@dataclass(frozen=True)
class PickList:
    """Picks in the order in which they were made, one for each key."""

    picks: tuple[Pick, ...] = ()

    def __len__(self) -> int:
        return len(self.picks)

    def get(self, stack: str, *, position: int = 0, time: int = 0) -> Pick | None:
        """The pick for a stack, position and time point; None where there is none yet."""
        return next((p for p in self.picks if p.key == (stack, position, time)), None)

    def with_pick(self, pick: Pick) -> PickList:
        """The list with `pick` in it, in the place of an earlier pick for the same key."""
        if self.get(pick.stack, position=pick.position, time=pick.time) is None:
            return PickList((*self.picks, pick))
        return PickList(tuple(pick if p.key == pick.key else p for p in self.picks))

    def without(self, pick: Pick) -> PickList:
        """The list without `pick`."""
        return PickList(tuple(p for p in self.picks if p.key != pick.key))

    def renamed(self, old: str, new: str) -> PickList:
        """The list after a stack was renamed."""
        return PickList(tuple(Pick(**{**vars(p), "stack": new}) if p.stack == old else p for p in self.picks))

    def to_csv(self) -> str:
        """A table with a row a pick and the columns `COLUMNS`; opens in Excel and pandas."""
        out = io.StringIO()
        table = csv.DictWriter(out, COLUMNS, lineterminator="\n")
        table.writeheader()
        for pick in self.picks:
            table.writerow({c: "" if getattr(pick, c) is None else getattr(pick, c) for c in COLUMNS})
        return out.getvalue()
