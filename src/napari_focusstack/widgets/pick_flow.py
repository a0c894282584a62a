"""Picking by hand: what *Pick*, *Accept*, *Next stack* and *Save picks…* do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from weakref import WeakMethod

from napari.utils.notifications import show_info, show_warning
from qtpy.QtCore import QObject, Qt
from qtpy.QtGui import QKeySequence
from qtpy.QtWidgets import QFileDialog, QShortcut, QWidget

from napari_focusstack.core.errors import InputError
from napari_focusstack.core.picks import Pick
from napari_focusstack.widgets.desk import Desk, group_of, stack_or_none
from napari_focusstack.widgets.layers import show, stack_of
from napari_focusstack.widgets.picks_table import NO_NEXT, PicksPanel, proposed_file

KEYS = {"P": "pick", "N": "next_stack"}


@dataclass(frozen=True)
class Table:
    """A table to write, and whether a file of that name may be replaced."""

    path: Path
    overwrite: bool


class PickFlow(QObject):
    """Carries out what the picks panel asks for.

    Parameters
    ----------
    panel : PicksPanel
        The list and its buttons.
    desk : Desk
        The widget it belongs to.
    parent : QWidget
        The same, as the widget in which the keys count.
    """

    def __init__(self, panel: PicksPanel, desk: Desk, parent: QWidget) -> None:
        super().__init__(parent)
        self._panel = panel
        self._desk = desk
        self._bound: list[tuple[str, Callable[..., None]]] = []
        panel.pick_asked.connect(self.pick)
        panel.accept_asked.connect(self.accept)
        panel.next_asked.connect(self.next_stack)
        panel.visit_asked.connect(self.visit)
        panel.save_asked.connect(self.save)

    def bind_keys(self) -> None:
        """Bind P and N on the viewer, unless they have a meaning there already, and within the widget."""
        viewer = self._desk.viewer
        for key, name in KEYS.items():
            # The viewer gets no keys while a button or a list of the widget has the keyboard.
            shortcut = QShortcut(QKeySequence(key), self.parent())
            shortcut.setContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
            shortcut.activated.connect(getattr(self, name))
        for key, name in KEYS.items():
            action = _weakly(getattr(self, name))
            try:
                viewer.bind_key(key, action)
            except ValueError:
                continue
            self._bound.append((key, action))

    def unbind_keys(self) -> None:
        """Give the keys back."""
        for key, action in self._bound:
            if action in self._desk.viewer.keymap.values():
                self._desk.viewer.bind_key(key, None)
        self._bound = []

    def pick(self) -> None:
        """Note the slice that is shown."""
        layer = self._desk.layer
        where = self._desk.where()
        if layer is None or "Z" not in where:
            show_warning("There is no z-stack to pick a slice of: open one, or choose its layer.")
            return
        self._panel.add(self._made(where["Z"], by="hand"))

    def accept(self) -> None:
        """Note the best slice of the curve, and show it."""
        scored = self._desk.scored
        best = scored.report.decision.best if scored is not None else None
        if scored is not None and best is not None:
            self._panel.add(self._made(best, by=scored.report.scorer))
            show(self._desk.layer, self._desk.viewer.dims, Z=best)

    def next_stack(self) -> None:
        """Go to the next layer, position or time point that has no pick yet, and to its best slice where known."""
        here = self._desk.layer
        places = list(self._places())
        if here is None or not places:
            return
        if len(places) == 1:
            show_info(f"{NO_NEXT}.")
            return
        where = self._desk.where()
        now = (here, where.get("P", 0), where.get("T", 0))
        at = next((i for i, place in enumerate(places) if _same(place, now)), -1)
        for layer, p, t in places[at + 1 :] + places[: max(at, 0)]:
            if not self._has_pick(layer, p, t):
                self._go(layer, p, t)
                return
        show_info("Every stack has a pick.")

    def offer_next(self) -> None:
        """Let *Next stack* be pressed where it leads somewhere."""
        self._panel.offer_next(others=self._desk.layer is not None and len(list(self._places())) > 1)

    def visit(self, pick: Pick) -> None:
        """Show what was picked."""
        layer = next((x for x in self._desk.candidates() if x.name == pick.stack), None)
        if layer is not None:
            self._go(layer, pick.position, pick.time)
            show(layer, self._desk.viewer.dims, Z=pick.slice)

    def save(self) -> None:
        """Ask for a file and write the list there."""
        from napari_focusstack.io.write import write_text

        stack = stack_or_none(self._desk.layer)
        chosen = ask_table(self._panel, "Save picks", proposed_file(stack.source if stack else None, "picks.csv"))
        if chosen is None:
            return
        try:
            write_text(chosen.path, self._panel.picks.to_csv(), overwrite=chosen.overwrite)
        except InputError as error:
            show_warning(error.in_napari)
        else:
            show_info(f"Saved {chosen.path}.")

    def _made(self, z: int, *, by: str) -> Pick:
        where, scored = self._desk.where(), self._desk.scored
        heights = stack_of(self._desk.layer).heights_um
        decision = scored.report.decision if scored else None
        return Pick(
            self._desk.layer.name,
            z,
            position=where.get("P", 0),
            time=where.get("T", 0),
            z_um=None if heights is None else round(float(heights[z]), 4),
            by=by,
            proposed=decision.best if decision else None,
            confidence=decision.confidence if decision and decision.best is not None else None,
        )

    def _places(self) -> Iterator[tuple[Any, int, int]]:
        """Every series of every stack; of the channels of one stack only the chosen one, or else the first."""
        here = self._desk.layer
        seen = {group_of(here)} - {None}
        for layer in self._desk.candidates():
            group = group_of(layer)
            if layer is not here and group in seen:
                continue
            seen |= {group} - {None}
            stack = stack_or_none(layer)
            if stack is not None and stack.n_slices > 1:
                yield from ((layer, p, t) for p in range(stack.n_positions) for t in range(stack.n_times))

    def _has_pick(self, layer: Any, position: int, time: int) -> bool:
        group = group_of(layer)
        names = [x.name for x in self._desk.candidates() if x is layer or (group and group_of(x) == group)]
        return any(self._panel.picks.get(name, position=position, time=time) for name in names)

    def _go(self, layer: Any, position: int, time: int) -> None:
        here = self._desk.layer
        if layer is not here:
            # Stacks lie over each other: show the next one in the place of this one, with all its channels.
            for other in self._desk.candidates():
                if other is here or (group_of(other) and group_of(other) == group_of(here)):
                    other.visible = False
                if other is layer or (group_of(other) and group_of(other) == group_of(layer)):
                    other.visible = True
            self._desk.choose_layer(layer)
            self._desk.viewer.layers.selection.active = layer
        show(layer, self._desk.viewer.dims, P=position, T=time)
        scored = self._desk.scored
        if scored is not None and scored.report.decision.best is not None:
            show(layer, self._desk.viewer.dims, Z=scored.report.decision.best)


def ask_table(parent: QWidget, title: str, proposed: str) -> Table | None:
    """Ask for the name of a table to write; None where the dialog was cancelled."""
    chosen, _ = QFileDialog.getSaveFileName(parent, title, proposed, "Table (*.csv)")
    if not chosen:
        return None
    path = Path(chosen)
    if not path.suffix:
        path = path.with_suffix(".csv")
    # The dialog has asked whether to replace the file of the name that was chosen there, and only of that.
    return Table(path, overwrite=path == Path(chosen))


def _weakly(method: Callable[[], None]) -> Callable[..., None]:
    """A key binding that does not keep the widget alive."""
    ref = WeakMethod(method)

    def call(_viewer: Any = None) -> None:
        alive = ref()
        if alive is not None:
            alive()

    call.__doc__ = method.__doc__
    return call


def _same(a: tuple[Any, int, int], b: tuple[Any, int, int]) -> bool:
    return a[0] is b[0] and a[1:] == b[1:]
