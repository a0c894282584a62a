"""How the map of a report is shown: which values, in which colours, and what is told of a patch. No Qt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_focusstack.core.learned.classes import CLASS_NAMES, GUESS
from napari_focusstack.core.report import FocusReport
from napari_focusstack.core.votes import DISTANCES, EVIDENCE

Kind = Literal["value", "class", "defocus", "score", "distance"]

CLASS_COLOURS = (
    "#fde725", "#b5de2b", "#6ece58", "#35b779", "#1f9e89", "#26828e", "#31688e", "#3e4989", "#482878", "#440154",
)  # fmt: skip
"""Ten steps of viridis, bright where it is sharp: told apart in every kind of colour vision, and in grey."""
DIVERGING_COLOURS = ("#08519c", "#4292c6", "#9ecae1", "#f7f7f7", "#fdae6b", "#e6711c", "#8c3a04")
"""From below focus (blue) over focus (white) to above (orange)."""
OPACITIES = ("26", "59", "8c", "bf", "ff")
"""Opacity of a patch whose distance is told, as hexadecimal: from faint where it guesses to full."""
LEAST_SHARE = 0.1
"""A patch of which less is specimen is not shown: those beside it answer for it."""


@dataclass(frozen=True)
class MapView:
    """A map to show.

    Attributes
    ----------
    kind : {"value", "class", "defocus", "score", "distance"}
        Focus values, focus classes (0 to 9), scores (0 to 100), signed defocus in µm, or codes of distance classes
        that are the fainter, the less certain (see `_coded`).
    title : str
        What the layer is called, before the name of its stack.
    data : (Z, gy, gx) float32
        NaN (shown transparent) where there was nothing to judge by, and where a patch holds hardly any specimen; plain
        focus values are shown there where they count: in a drawn region, or where the whole image decides.
    limits : (float, float)
        Contrast limits.
    colours : tuple of str
        Of the colormap, as hexadecimal; empty for the user's own choice.
    units : str
        Of plain focus values.
    """

    kind: Kind
    title: str
    data: NDArray[np.float32]
    limits: tuple[float, float]
    colours: tuple[str, ...] = ()
    units: str = ""


def view_of(report: FocusReport) -> MapView:
    """The map that says most about a report."""
    layers = report.layers
    if "defocus_um" in layers:
        known = np.abs(layers["defocus_um"][np.isfinite(layers["defocus_um"])])
        most = float(np.quantile(known, 0.98)) if known.size else 1.0
        most = max(most, 1e-3)
        return MapView("defocus", "defocus µm", layers["defocus_um"], (-most, most), DIVERGING_COLOURS)
    if {"class", "certainty"} <= set(layers):
        shown = (layers["certainty"] >= GUESS) & _on_specimen(report)
        data = np.where(shown, layers["class"], np.nan).astype(np.float32)
        return MapView("class", "classes", data, (-0.5, len(CLASS_COLOURS) - 0.5), CLASS_COLOURS)
    if "cam" in layers:
        judged = np.ones(report.grid.shape, bool) if report.evidence is None else report.evidence > 0
        data = np.where(judged & _on_specimen(report), report.maps, np.nan).astype(np.float32)
        return MapView("score", "scores", data, (0.0, 100.0), CLASS_COLOURS[::-1])
    if report.distributions is not None:
        return _distances(report.distributions, layers["certainty"])
    low, high = np.quantile(report.maps, (0.02, 0.995))
    limits = float(low), float(max(high, np.nextafter(low, np.inf)))
    shown = _on_specimen(report) | (report.weights >= LEAST_SHARE)
    data = report.maps if shown.all() else np.where(shown, report.maps, np.nan).astype(np.float32)
    return MapView("value", "focus map", data, limits, units=report.units)


def _on_specimen(report: FocusReport) -> NDArray[np.bool_]:
    """(gy, gx) whether a patch holds specimen enough to be shown; all do where none was found."""
    share = None if report.specimen is None else report.specimen_weights
    return np.ones(report.grid.shape, bool) if share is None else share >= LEAST_SHARE


def _distances(distributions: NDArray[np.float32], certainty: NDArray[np.float32]) -> MapView:
    """Distance classes with certainty as opacity: a colour for each class and each of `OPACITIES`."""
    made = tuple(colour + opacity for colour in DIVERGING_COLOURS for opacity in OPACITIES)
    data = _coded(distributions.argmax(axis=-1), certainty, shown=certainty >= EVIDENCE)
    return MapView("distance", "distances", data, (-0.5, len(made) - 0.5), made)


def _coded(classes: NDArray[Any], opacity: NDArray[np.float32], *, shown: NDArray[np.bool_]) -> NDArray[np.float32]:
    """A number for each class and each of `OPACITIES`; NaN where nothing is shown."""
    n = len(OPACITIES)
    level = np.minimum((opacity * n).astype(np.int32), n - 1)
    coded: NDArray[np.float32] = np.where(shown, classes.astype(np.int32) * n + level, np.nan).astype(np.float32)
    return coded


def patch_text(report: FocusReport, z: int, row: int, column: int) -> str:
    """What is known of a patch: ``"slice 4, patch (12, 7): in focus, certainty 0.93"``."""
    layers = {name: values[z, row, column] for name, values in report.layers.items()}
    told = f"slice {z}, patch ({row}, {column}): "
    if "defocus_um" in layers:
        defocus = float(layers["defocus_um"])
        if not np.isfinite(defocus):
            return told + "nothing to judge by"
        return told + f"{signed_um(defocus)}, sign by the image alone {float(layers['side']):.2f} certain"
    if "cam" in layers:
        if report.evidence is not None and report.evidence[row, column] == 0:
            return told + "nothing to judge by"
        parts = [f"score {report.maps[z, row, column]:.0f} of 100", f"attention {layers['cam']:.2f}"]
    elif report.distributions is not None:
        if layers["certainty"] < EVIDENCE:
            return told + "nothing to judge by"
        likeliest = DISTANCES[int(report.distributions[z, row, column].argmax())]
        parts = [distance_text(likeliest), f"index {layers['distance']:+.2f}", f"certainty {layers['certainty']:.2f}"]
    elif {"class", "certainty"} <= set(layers):
        if layers["certainty"] < GUESS:
            return told + "nothing to judge by"
        parts = [class_text(int(layers["class"])), f"certainty {layers['certainty']:.2f}"]
        parts.append(f"in focus by {100 * layers['in_focus']:.0f} %")
    else:
        parts = [f"{report.maps[z, row, column]:.3g}"]
        for name, value in layers.items():
            shown = f"{value:.2f}" if np.issubdtype(type(value), np.floating) else str(value)
            parts.append(f"{name[:-3]} {shown} µm" if name.endswith("_um") else f"{name.replace('_', ' ')} {shown}")
    if report.weights[row, column] == 0:
        parts.append("does not count")
    return told + ", ".join(parts)


def slice_text(report: FocusReport, z: int) -> str:
    """What a network says of a whole slice, in a sentence; empty for measures, or where it could judge nothing."""
    extras = report.extras
    if "defocus_um" in extras and extras["defocus_um"][z] is not None:
        if "at_least_um" in extras and extras["at_least_um"][z] is not None:
            side = "above" if extras["defocus_um"][z] > 0 else "below"
            least = f"at least {extras['at_least_um'][z]:.3g} µm"
            return f"Slice {z} is {least} {side} focus (side from {extras['sign_from']})."
        return f"Slice {z} is {signed_um(extras['defocus_um'][z])} from focus (sign from {extras['sign_from']})."
    if "distance_index" in extras:
        return _distance_said(report, z)
    if "classes" in extras and extras["classes"][z] is not None:
        share, certainty = extras["in_focus"][z], extras["certainty"][z]
        # The rule for "in focus" goes before the mean class.
        index = 0 if share > 0.5 else max(extras["classes"][z], CLASS_NAMES.count("in focus"))
        told = f"{100 * share:.0f} % of what counts is in focus; a patch is {100 * certainty:.0f} % sure"
        return f"Slice {z} is {class_text(index)}: {told}."
    return f"Seen as {extras['preset']}." if "preset" in extras else ""


def _distance_said(report: FocusReport, z: int) -> str:
    """What the patches' vote says of a slice, and where the index of the slices goes through zero."""
    extras = report.extras
    if extras["classes"][z] is None:
        said = f"Slice {z} has nothing to judge by."
    else:
        index, certainty = extras["distance_index"][z], extras["certainty"][z]
        said = f"Slice {z} is {distance_text(extras['classes'][z])}, index {index:+.2f}, certainty {certainty:.2f}."
    if "crossing" not in extras:
        return said
    height = "" if extras["crossing_um"] is None else f" (z {extras['crossing_um']:.2f} µm)"
    said += f" The index goes through zero at slice {extras['crossing']:.1f}{height}"
    return said + ("." if extras["direction"] == 1 else "; it falls with height: this microscope's sides are reversed.")


def distance_text(distance: int) -> str:
    """A distance class in words."""
    if distance == 0:
        return "in focus"
    return f"{'too far' if distance > 0 else 'too near'} (class {distance:+d})"


def class_text(index: int) -> str:
    """A focus class in words."""
    return CLASS_NAMES[index] if index == 0 else f"{CLASS_NAMES[index]} (class {index})"


def signed_um(value: float) -> str:
    """Defocus with its sign: ``"+3.2 µm"``."""
    return f"{value:+.{2 if abs(value) < 10 else 1}f} µm"
