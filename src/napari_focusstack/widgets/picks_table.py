"""The list of picks, with undo, delete and *Save picks…*."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QKeySequence, QShortcut
from qtpy.QtWidgets import (
    QAbstractItemView,
    QHBoxLayout,
    QHeaderView,
    QPushButton,
    QSizePolicy,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_focusstack.core.picks import Pick, PickList

COLUMNS = ("Stack", "Position", "Time", "Slice", "z µm", "By")
POSITION, TIME, Z_UM = 1, 2, 4
NEXT = "Go to the next stack, time point or position without a pick (N)"
NO_NEXT = "This is the only stack that is open: there is no other one to go to"


class PicksPanel(QWidget):
    """Holds the picks and shows them; every change can be undone.

    Signals
    -------
    pick_asked(), accept_asked(), next_asked()
        The user wants to pick the shown slice, to accept the proposal, to go to the next stack without a pick.
    visit_asked(Pick)
        The user clicked a pick in the list.
    save_asked()
        The user wants to save the list.
    """

    pick_asked = Signal()
    accept_asked = Signal()
    next_asked = Signal()
    visit_asked = Signal(object)
    save_asked = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._history: list[PickList] = [PickList()]
        self.pick_button = _button("Pick this slice", "Note the slice that is shown (P)", self.pick_asked)
        self.accept_button = _button("Accept proposal", "Note the best slice of the curve", self.accept_asked)
        self.next_button = _button("Next stack", NEXT, self.next_asked)
        self.undo_button = _button("Undo", "Take the last change of the list back (Ctrl+Z)", self.undo)
        self.delete_button = _button("Delete", "Delete the marked pick", self.delete_selected)
        self.save_button = _button("Save picks…", "Save the list as a table (CSV)", self.save_asked)
        self.table = QTableWidget(0, len(COLUMNS))
        self._set_up_table()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(4, 4, 4, 4)
        layout.setSpacing(4)
        layout.addLayout(_row(self.pick_button, self.accept_button, self.next_button))
        layout.addWidget(self.table, 1)
        layout.addLayout(_row(self.undo_button, self.delete_button, self.save_button))
        self._show()

    @property
    def picks(self) -> PickList:
        """The picks."""
        return self._history[-1]

    def add(self, pick: Pick) -> None:
        """Add a pick, or replace the one for the same stack, position and time point."""
        self._change(self.picks.with_pick(pick))
        self.table.selectRow([p.key for p in self.picks.picks].index(pick.key))

    def rename(self, old: str, new: str) -> None:
        """Follow a stack that was renamed; nothing that one would undo."""
        self._history = [picks.renamed(old, new) for picks in self._history]
        self._show()

    def undo(self) -> None:
        """Take the last change back."""
        if len(self._history) > 1:
            self._history.pop()
            self._show()

    def delete_selected(self) -> None:
        """Delete the marked picks."""
        rows = sorted({index.row() for index in self.table.selectedIndexes()})
        picks = self.picks
        for pick in [picks.picks[row] for row in rows]:
            picks = picks.without(pick)
        if rows:
            self._change(picks)

    def set_shown(self, z: int | None, *, proposal: int | None) -> None:
        """Tell which slice is shown and which one is proposed."""
        self.pick_button.setText("Pick this slice" if z is None else f"Pick slice {z}")
        self.pick_button.setEnabled(z is not None)
        self.accept_button.setEnabled(proposal is not None)
        self.accept_button.setText("Accept proposal" if proposal is None else f"Accept slice {proposal}")

    def offer_next(self, *, others: bool) -> None:
        """Offer to go on, where there is another stack, time point or position."""
        self.next_button.setEnabled(others)
        self.next_button.setToolTip(NEXT if others else NO_NEXT)

    def _change(self, picks: PickList) -> None:
        self._history.append(picks)
        self._show()

    def _show(self) -> None:
        picks = self.picks.picks
        self.table.setRowCount(len(picks))
        for row, pick in enumerate(picks):
            by = "hand" if pick.by == "hand" else "proposal"
            height = "" if pick.z_um is None else f"{pick.z_um:g}"
            cells = (pick.stack, str(pick.position), str(pick.time), str(pick.slice), height, by)
            for column, text in enumerate(cells):
                item = QTableWidgetItem(text)
                item.setFlags(Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsSelectable)
                item.setToolTip(_explain(pick))
                if column:
                    item.setTextAlignment(Qt.AlignmentFlag.AlignCenter)
                self.table.setItem(row, column, item)
        self.table.setColumnHidden(POSITION, not any(p.position for p in picks))
        self.table.setColumnHidden(TIME, not any(p.time for p in picks))
        self.table.setColumnHidden(Z_UM, not any(p.z_um is not None for p in picks))
        self.undo_button.setEnabled(len(self._history) > 1)
        self.delete_button.setEnabled(bool(picks))
        self.save_button.setEnabled(bool(picks))

    def _set_up_table(self) -> None:
        table = self.table
        table.setHorizontalHeaderLabels(COLUMNS)
        table.verticalHeader().setVisible(False)
        table.verticalHeader().setDefaultSectionSize(22)
        header = table.horizontalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        table.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        table.setMinimumHeight(90)
        # It takes what room there is: asking for more would push it below the fold.
        table.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Ignored)
        table.cellClicked.connect(self._on_cell)
        undo = QShortcut(QKeySequence(QKeySequence.StandardKey.Undo), self)
        undo.setContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
        undo.activated.connect(self.undo)
        delete = QShortcut(QKeySequence(QKeySequence.StandardKey.Delete), table)
        delete.setContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
        delete.activated.connect(self.delete_selected)

    def _on_cell(self, row: int, _column: int) -> None:
        self.visit_asked.emit(self.picks.picks[row])


def _explain(pick: Pick) -> str:
    by = "picked by hand" if pick.by == "hand" else f"proposed by {pick.by} and accepted"
    other = "" if pick.proposed in (None, pick.slice) else f" (proposed was slice {pick.proposed})"
    return f"{pick.stack}, position {pick.position}, time {pick.time}: slice {pick.slice}, {by}{other}"


def proposed_file(source: Path | None, name: str) -> str:
    """A file name for a table, beside the stack's own file where that is known."""
    return str((source.parent if source else Path.home()) / name)


def _button(text: str, tooltip: str, pressed: object) -> QPushButton:
    button = QPushButton(text)
    button.setToolTip(tooltip)
    button.clicked.connect(pressed)
    return button


def _row(*widgets: QWidget) -> QHBoxLayout:
    row = QHBoxLayout()
    row.setSpacing(4)
    for widget in widgets:
        row.addWidget(widget, 1)
    return row
