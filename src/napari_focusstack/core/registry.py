"""Named choices (scorers, fusion methods, masks): a dict of frozen dataclasses with a helpful error."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Generic, Protocol, TypeVar

from napari_focusstack.core.errors import InputError
from napari_focusstack.networks.zoo import how_to_install, near_names


class Named(Protocol):
    """Anything with a name."""

    @property
    def name(self) -> str:
        """The name by which a user chooses it."""
        ...


N = TypeVar("N", bound=Named)
FEW = 15
"""So many names go into a message."""


class Registry(Generic[N]):
    """Choices of one kind, in the order in which they were added.

    Parameters
    ----------
    kind : str
        What they are, in the singular, for messages: ``"scorer"``.
    listing : str, optional
        The command that lists them, where they are too many for a message.
    networks : iterable of str
        Names of networks that stand among them once they are installed.
    """

    def __init__(self, kind: str, *, listing: str = "", networks: Iterable[str] = ()) -> None:
        self.kind = kind
        self.listing = listing
        self.networks = frozenset(networks)
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
            raise InputError(f"There is no {self.kind} '{name}': {self._advice(name)}") from None

    def _advice(self, name: str) -> str:
        near = near_names(name, self._entries)
        if name in self.networks:
            return how_to_install(name, near)
        if near:
            return f"did you mean {' or '.join(near)}?"
        if self.listing and len(self) > FEW:
            return f"choose one of the {len(self)} that '{self.listing}' lists."
        return f"choose one of {', '.join(self._entries)}."

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[N]:
        return iter(self._entries.values())

    def __len__(self) -> int:
        return len(self._entries)

    def names(self) -> tuple[str, ...]:
        """All names, in order."""
        return tuple(self._entries)
