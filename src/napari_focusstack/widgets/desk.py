"""What the parts of the Focus widget know of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from napari_focusstack.core.errors import InputError
from napari_focusstack.core.stack import Stack
from napari_focusstack.widgets.focus_state import Basis, Scored, Target
from napari_focusstack.widgets.layers import METADATA, source_id, stack_of


class Desk(Protocol):
    """The Focus widget, as its parts see it."""

    viewer: Any

    @property
    def layer(self) -> Any:
        """The chosen layer, or None."""
        ...

    @property
    def target(self) -> Target | None:
        """The series that is shown."""
        ...

    @property
    def scorer(self) -> str:
        """Name of the chosen scorer."""
        ...

    @property
    def patch_px(self) -> int:
        """Size of the patches of the focus map."""
        ...

    @property
    def basis(self) -> Basis:
        """What decides."""
        ...

    @property
    def scored(self) -> Scored | None:
        """What is known of the series that is shown."""
        ...

    def where(self) -> dict[str, int]:
        """Index that the sliders show, by axis letter."""
        ...

    def candidates(self) -> list[Any]:
        """The layers that can be chosen."""
        ...

    def choose_layer(self, layer: Any) -> None:
        """Choose a layer."""
        ...


def stack_or_none(layer: Any) -> Stack | None:
    """The layer as a stack; None where there is no layer or it can't be one."""
    if layer is None:
        return None
    try:
        return stack_of(layer)
    except InputError:
        return None


def group_of(layer: Any) -> Any:
    """What the channels of one stack have in common, where they are layers of their own; else None."""
    return None if layer is None else layer.metadata.get(METADATA, {}).get("group")


def selected_source(viewer: Any, layers: Sequence[Any]) -> Any:
    """Of some layers the one that is selected, or whose result is; None where neither is."""
    active = viewer.layers.selection.active
    if active is None or active in layers:
        return active
    made_from = source_id(active)
    ids = [layer.metadata.get(METADATA, {}).get("id") for layer in layers]
    return layers[ids.index(made_from)] if made_from and made_from in ids else None
