"""Named choices (scorers, fusion methods, masks): a dict of frozen dataclasses with a helpful error."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar

from napari_focusstack.core.errors import InputError


class Named(Protocol):
    """Anything with a name."""

    @property
    def name(self) -> str:
        """The name by which a user chooses it."""
        ...


N = TypeVar("N", bound=Named)


class Registry(Generic[N]):
    """Choices of one kind, in the order in which they were added.

    Parameters
    ----------
    kind : str
        What they are, in the singular, for messages: ``"scorer"``.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, N] = {}

    def add(self, entry: N) -> N:
        """Add an entry and return it. Names are unique."""
        if entry.name in self._entries:
            raise RuntimeError(f"{self.kind} '{entry.name}' is registered twice")
        self._entries[entry.name] = entry
        return entry

    def __getitem__(self, name: str) -> N:
        try:
            return self._entries[name]
        except KeyError:
            near = difflib.get_close_matches(name, self._entries, n=3)
            hint = f"did you mean {' or '.join(near)}?" if near else f"choose one of {', '.join(self._entries)}."
            raise InputError(f"There is no {self.kind} '{name}': {hint}") from None

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[N]:
        return iter(self._entries.values())

    def __len__(self) -> int:
        return len(self._entries)

    def names(self) -> tuple[str, ...]:
        """All names, in order."""
        return tuple(self._entries)
