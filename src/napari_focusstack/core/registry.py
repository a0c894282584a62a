"""Named choices (scorers, fusion methods, masks): a dict of frozen dataclasses with a helpful error."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from napari_focusstack.core.errors import InputError
from napari_focusstack.networks.zoo import ModelCard, how_to_install, installed_cards, near_names


class Named(Protocol):
    """Anything with a name."""

    @property
    def name(self) -> str:
        """The name by which a user chooses it."""
        ...


class Choice(Named, Protocol):
    """What a user chooses from a list."""

    @property
    def title(self) -> str:
        """What to call it in a list."""
        ...

    @property
    def description(self) -> str:
        """What it does and when to take it, in a sentence."""
        ...

    @property
    def reference(self) -> str:
        """Where it was published."""
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
        self._offer: Callable[[ModelCard, Path], Iterable[N]] | None = None
        self._before = 0
        self._cards: object = None
        self._networks: dict[str, N] = {}

    def follow_models(self, offer: Callable[[ModelCard, Path], Iterable[N]]) -> None:
        """List what models have to offer here: at every look those that are installed by then, with their cards.

        Parameters
        ----------
        offer : callable
            Makes entries from a model's card and folder; none for a model of another kind. Reads no weights.
        """
        self._offer, self._before = offer, len(self._entries)

    def _now(self) -> dict[str, N]:
        """All entries; models stand where `follow_models` was called, and take no name that is taken."""
        if self._offer is None:
            return self._entries
        cards = installed_cards()
        if cards is not self._cards:
            self._networks = {entry.name: entry for known in cards for entry in self._offer(*known)}
            self._cards = cards
        fixed = list(self._entries.items())
        return dict(fixed[: self._before]) | self._networks | dict(fixed[self._before :]) | self._entries

    def add(self, entry: N) -> N:
        """Add an entry and return it. Names are unique."""
        if entry.name in self._entries:
            raise RuntimeError(f"{self.kind} '{entry.name}' is registered twice")
        self._entries[entry.name] = entry
        return entry

    def __getitem__(self, name: str) -> N:
        try:
            return self._now()[name]
        except KeyError:
            raise InputError(f"There is no {self.kind} '{name}': {self._advice(name)}") from None

    def _advice(self, name: str) -> str:
        near = near_names(name, self._now())
        if name in self.networks:
            return how_to_install(name, near)
        if near:
            return f"did you mean {' or '.join(near)}?"
        if self.listing and len(self) > FEW:
            return f"choose one of the {len(self)} that '{self.listing}' lists."
        return f"choose one of {', '.join(self._now())}."

    def __contains__(self, name: object) -> bool:
        return name in self._now()

    def __iter__(self) -> Iterator[N]:
        return iter(self._now().values())

    def __len__(self) -> int:
        return len(self._now())

    def names(self) -> tuple[str, ...]:
        """All names, in order."""
        return tuple(self._now())
