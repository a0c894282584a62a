"""LDSE-NET's table: error of the distance from focus by distance band, size and time."""

from __future__ import annotations

import time
from dataclasses import dataclass

import aberrated
import numpy as np
import torch
from heldout import OBJECTIVES, TestSet
from intervals import Interval, median
from real_patches import load

from napari_focusstack.core.defocus import Calibration
from napari_focusstack.core.pipeline import score
from napari_focusstack.core.stack import Optics, Stack
from napari_focusstack.networks import ldsenet
from napari_focusstack.networks.infer import prepare
from napari_focusstack.networks.zoo import WEIGHTS, find_model, load_model
from napari_focusstack.training.library import Sharp

BANDS_UM = ((0.0, 2.0), (2.0, 5.0), (0.0, 5.0), (5.0, 10.0))
CALIBRATING, TESTED = "beads_s1", "beads_s2"
BEADS_FOCUS, BEADS_STEP_UM, BEADS_MOST_UM = 4, 5.0, 10.0
BEADS_OPTICS = Optics(na=0.75, wavelength_um=0.52)
TOLD_UM = 0.5
"""Where the side is counted: nearer to focus it does not matter."""


@dataclass(frozen=True)
class Distances:
    """True and found distances in µm; `found` is signed by the network alone, but where it says otherwise."""

    truth: np.ndarray
    found: np.ndarray
    group: np.ndarray


@dataclass(frozen=True)
class Beads:
    """Slices of the tested stack: by each slice alone, and by their order and the rings together."""

    alone: Distances
    ordered: Distances
    rings: str


@dataclass(frozen=True)
class Measured:
    """What a network came to."""

    name: str
    independent: Distances
    aberrated: Distances
    beads: Beads | None
    size_mb: float
    tile_ms: float
    trained: str


def measure(name: str, symmetric: TestSet, sided: aberrated.Tiles, *, beads: bool = True) -> Measured:
    """Try an installed model; on the beads, too, unless it is only to be chosen."""
    raw, card = load_model(name)
    network = prepare(raw, device=torch.device("cpu"))
    times = []
    for tile in sided.tiles[:8]:
        begun = time.perf_counter()
        ldsenet.measure_plane(network, tile, sampling=aberrated.OBJECTIVE.sampling)
        times.append(1000 * (time.perf_counter() - begun))
    seconds, samples = (card.training.get(key) for key in ("seconds", "samples"))
    return Measured(
        name,
        _symmetric(network, symmetric),
        _aberrated(network, sided),
        _beads(name) if beads else None,
        (find_model(name) / WEIGHTS).stat().st_size / 1e6,
        float(np.median(times)),
        "–" if seconds is None else f"{seconds / 60:.0f} min, {samples / 1000:.0f}k tiles",
    )


def make_sided(images: list[Sharp], *, quick: bool) -> aberrated.Tiles:
    """The tiles with a side that all models are tried on."""
    return aberrated.make(images, per_image=2 if quick else 12, seed=5)


def _symmetric(network: ldsenet.Conditioned, test: TestSet) -> Distances:
    """Patches by the electromagnetic PSF, which looks alike on both sides: |z| counts."""
    um = np.ones(len(test.dof))
    for objective in OBJECTIVES:
        known = Calibration(objective.na, objective.wavelength_um, objective.pixel_um, objective.index)
        um[np.isclose(test.sampling, objective.sampling)] = known.um_per_wave
    found = [
        ldsenet.measure_plane(network, tile, sampling=float(q)).waves.mean()
        for tile, q in zip(test.tiles, test.sampling, strict=True)
    ]
    return Distances(test.waves * um, np.asarray(found) * um, test.image)


def _aberrated(network: ldsenet.Conditioned, sided: aberrated.Tiles) -> Distances:
    """20×/0.75 through a wrong cover glass: the side counts, relative to the rings."""
    known = aberrated.OBJECTIVE
    found = [
        float(ldsenet.measure_plane(network, tile, sampling=known.sampling).waves.mean()) * known.um_per_wave
        for tile in sided.tiles
    ]
    return Distances(sided.defocus_um, np.asarray(found), sided.image)


def _beads(name: str) -> Beads | None:
    """Real beads: one stack tells the rings' side, another of the same instrument is tried.

    Heights count from the slice in focus (by eye); a slice's distance is the mean over its tiles.
    """
    try:
        calibrating, tested = (_with_optics(load(stack), BEADS_OPTICS) for stack in (CALIBRATING, TESTED))
    except OSError:
        return None
    rings = score(calibrating, scorer=name).extras.get("rings", "below")
    seen = Optics(na=BEADS_OPTICS.na, wavelength_um=BEADS_OPTICS.wavelength_um, rings=rings)
    heights = (np.arange(tested.n_slices) - BEADS_FOCUS) * BEADS_STEP_UM
    together = score(_with_optics(tested, seen), scorer=name).extras["defocus_um"]
    alone = []
    for plane in tested.planes():
        one = Stack(plane, "YX", y_um=tested.y_um, x_um=tested.x_um, optics=seen)
        alone += score(one, scorer=name).extras["defocus_um"]
    near = np.abs(heights) <= BEADS_MOST_UM
    group = np.full(near.sum(), TESTED)

    def distances(found: list[float | None]) -> Distances:
        values = np.array([np.nan if v is None else v for v in found], np.float64)
        return Distances(heights[near], values[near], group)

    return Beads(distances(alone), distances(together), rings)


def _with_optics(stack: Stack, optics: Optics) -> Stack:
    return Stack(
        stack.data, stack.axes, name=stack.name, y_um=stack.y_um, x_um=stack.x_um, z_um=stack.z_um, optics=optics
    )


def markdown(measured: list[Measured]) -> str:
    """The tables."""
    bands = [f"{a:g}–{b:g} µm" for a, b in BANDS_UM]
    lines = [
        "Median error in µm (95 % by image). Signed: by the network alone, where the optics tell the side.",
        "",
        f"| model | test | {' | '.join(bands)} | right side |",
        f"| --- | --- |{' --- |' * (len(bands) + 1)}",
    ]
    for m in measured:
        for title, d, signed in (
            ("20×/0.75, wrong cover glass, signed", m.aberrated, True),
            ("20×/0.75, wrong cover glass, abs. value", m.aberrated, False),
            ("eight objectives, symmetric optics, abs. value", m.independent, False),
        ):
            cells = [_band(d, *band, signed=signed).number() for band in BANDS_UM]
            lines.append(f"| {m.name} | {title} | {' | '.join(cells)} | {_sides(d) if signed else '–'} |")
    lines += [
        "",
        f"Real beads within ±{BEADS_MOST_UM:g} µm: correlation and wrong signs on {TESTED}; the rings' side found on "
        f"{CALIBRATING} (same instrument: repeatability, not generality).",
        "",
        "| model | rings | each slice alone | with the order of the slices | MB | ms a tile | training |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for m in measured:
        told = ("–", "–", "–") if m.beads is None else (m.beads.rings, _told(m.beads.alone), _told(m.beads.ordered))
        lines.append(f"| {m.name} | {' | '.join(told)} | {m.size_mb:.2f} | {m.tile_ms:.0f} | {m.trained} |")
    return "\n".join(lines)


def _told(d: Distances) -> str:
    """Correlation and wrong signs of a stack's slices; a slice that could not be judged is a wrong sign."""
    known = np.isfinite(d.found)
    r = np.corrcoef(d.truth[known], d.found[known])[0, 1] if known.sum() > 2 else np.nan
    far = d.truth != 0
    wrong = int((np.sign(np.nan_to_num(d.found)) != np.sign(d.truth))[far].sum())
    return f"{r:.3f}, {wrong} of {int(far.sum())}"


def _band(d: Distances, low: float, high: float, *, signed: bool) -> Interval:
    inside = (np.abs(d.truth) >= low) & (np.abs(d.truth) < high)
    error = d.found - d.truth if signed else np.abs(d.found) - np.abs(d.truth)
    return median(np.abs(error)[inside], d.group[inside])


def _sides(d: Distances) -> str:
    """Share of right signs where the side matters."""
    far = np.abs(d.truth) >= TOLD_UM
    return f"{100 * float((np.sign(d.found) == np.sign(d.truth))[far].mean()):.0f} %"
