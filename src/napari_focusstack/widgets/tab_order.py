"""The way of the Tab key through a widget: from top to bottom, however its parts were put together."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFormLayout, QGridLayout, QLayout, QLayoutItem, QScrollArea, QTabWidget, QWidget

STOPS = (Qt.FocusPolicy.TabFocus, Qt.FocusPolicy.StrongFocus, Qt.FocusPolicy.WheelFocus)
ROLES = (QFormLayout.ItemRole.LabelRole, QFormLayout.ItemRole.FieldRole, QFormLayout.ItemRole.SpanningRole)


def order_tabs(widget: QWidget) -> None:
    """Let the Tab key visit the fields of a widget in the order of its layouts, hidden ones at their places, too."""
    stops = [field for field in _fields(widget) if field.focusPolicy() in STOPS]
    for first, second in pairwise(stops):
        QWidget.setTabOrder(first, second)


def _fields(widget: QWidget) -> Iterator[QWidget]:
    """The parts of a widget, as its layouts place them."""
    layout = widget.layout()
    if isinstance(widget, QScrollArea):
        yield from _fields(widget.widget())
    elif isinstance(widget, QTabWidget):
        yield widget.tabBar()
        for page in range(widget.count()):
            yield from _fields(widget.widget(page))
    elif layout is not None:
        yield widget  # a slider with its number is a stop, and so is the number
        yield from _placed(layout)
    else:
        yield widget


def _placed(layout: QLayout) -> Iterator[QWidget]:
    for item in _items(layout):
        inner, widget = item.layout(), item.widget()
        if inner is not None:
            yield from _placed(inner)
        elif widget is not None:
            yield from _fields(widget)


def _items(layout: QLayout) -> list[QLayoutItem]:
    """The items of a layout from top to bottom and from left to right."""
    if isinstance(layout, QFormLayout):
        found = [layout.itemAt(row, role) for row in range(layout.rowCount()) for role in ROLES]
        return [item for item in found if item is not None]
    places = list(range(layout.count()))
    if isinstance(layout, QGridLayout):
        places.sort(key=lambda i: layout.getItemPosition(i)[:2])
    return [layout.itemAt(i) for i in places]
