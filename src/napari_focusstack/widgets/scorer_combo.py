"""A list of scorers: in groups, searchable by typing, each explained under the mouse."""

from __future__ import annotations

from collections.abc import Iterable

from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QStandardItem, QStandardItemModel
from qtpy.QtWidgets import QComboBox, QCompleter, QSizePolicy, QWidget

from napari_focusstack.core.scorers import DEFAULT_SCORER, SCORERS, Scorer

NAME = Qt.ItemDataRole.UserRole


class ScorerCombo(QComboBox):
    """Choose a scorer.

    Signals
    -------
    chosen(str)
        Another scorer was chosen; its name.
    """

    chosen = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setEditable(True)
        self.setInsertPolicy(QComboBox.InsertPolicy.NoInsert)
        self.setMaxVisibleItems(24)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.setMinimumContentsLength(12)
        self._told: list[tuple[str, str]] = []
        self._name = ""
        self.refresh()
        self.choose(DEFAULT_SCORER)
        self.currentIndexChanged.connect(self._on_index)
        self.lineEdit().editingFinished.connect(self._on_typed)

    @property
    def scorer(self) -> str:
        """Name of the chosen scorer."""
        return self._name

    def refresh(self) -> None:
        """Offer the scorers that there are now, keeping the choice."""
        told = [(scorer.title, explain(scorer)) for scorer in SCORERS]
        if told == self._told:
            return
        self._told = told
        self.blockSignals(True)
        self.setModel(_model(SCORERS, self))
        completer = QCompleter([title for title, _ in told], self)
        completer.setCaseSensitivity(Qt.CaseSensitivity.CaseInsensitive)
        completer.setFilterMode(Qt.MatchFlag.MatchContains)
        self.setCompleter(completer)
        if self._name:
            self.setCurrentIndex(self.findData(self._name if self._name in SCORERS else DEFAULT_SCORER, NAME))
        self.blockSignals(False)
        if self._name:
            self._on_index(self.currentIndex())

    def showPopup(self) -> None:  # noqa: N802 (Qt's name)
        """Open the list; what was trained or installed meanwhile is in it."""
        self.refresh()
        super().showPopup()

    def choose(self, name: str) -> None:
        """Choose a scorer by its name."""
        self.setCurrentIndex(self.findData(name, NAME))
        self._on_index(self.currentIndex())

    def _on_index(self, index: int) -> None:
        name = self.itemData(index, NAME)
        if not name:
            return
        self.setToolTip(self.itemData(index, Qt.ItemDataRole.ToolTipRole))
        self.lineEdit().setCursorPosition(0)
        if name != self._name:
            self._name = name
            self.chosen.emit(name)

    def _on_typed(self) -> None:
        """Text that names no scorer goes back to the one that is chosen."""
        typed = self.currentText().strip().lower()
        found = next((s.name for s in SCORERS if typed in (s.title.lower(), s.name)), self._name)
        self.choose(found)
        self.setEditText(self.itemText(self.currentIndex()))


def _model(scorers: Iterable[Scorer], parent: QWidget) -> QStandardItemModel:
    model = QStandardItemModel(parent)
    families: dict[str, list[Scorer]] = {}
    for scorer in scorers:
        families.setdefault(scorer.family, []).append(scorer)
    for family, members in families.items():
        heading = QStandardItem(family[:1].upper() + family[1:])
        heading.setFlags(Qt.ItemFlag.NoItemFlags)
        font = heading.font()
        font.setBold(True)
        heading.setFont(font)
        model.appendRow(heading)
        for scorer in members:
            item = QStandardItem(scorer.title)
            item.setData(scorer.name, NAME)
            item.setToolTip(explain(scorer))
            model.appendRow(item)
    return model


def explain(scorer: Scorer) -> str:
    """Tooltip of a scorer; as rich text, so that Qt breaks its lines."""
    return f"<p>{scorer.description}</p><p><i>{scorer.reference}</i></p>"
