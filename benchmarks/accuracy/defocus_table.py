"""LDSE-NET's table: error of the distance from focus by distance band, size and time."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import torch
from heldout import OBJECTIVES, TestSet
from intervals import Interval, median
from real_patches import load

from napari_focusstack.core.defocus import Calibration, sides
from napari_focusstack.networks import ldsenet
from napari_focusstack.networks.infer import prepare
from napari_focusstack.networks.zoo import WEIGHTS, find_model, load_model
from napari_focusstack.training.library import Sharp
from napari_focusstack.training.settings import SimulationSettings
from napari_focusstack.training.simulate import simulate

BANDS_UM = ((0.0, 2.0), (2.0, 5.0), (5.0, 10.0), (10.0, 30.0))
BEADS = ("beads_s1", "beads_s2")
BEADS_FOCUS, BEADS_STEP_UM = 4, 5.0
BEADS_OPTICS = Calibration(na=0.75, wavelength_um=0.52, pixel_um=1.367, index=1.0)
PAPERS = SimulationSettings(
    na=0.75, pixel_um=0.325, wavelength_um=0.52, z_um=1.25, slices=17, relief="flat", relief_um=0
)


@dataclass(frozen=True)
class Distances:
    """True and found distances in µm; `found` is signed by the network alone."""

    truth: np.ndarray
    found: np.ndarray
    group: np.ndarray


@dataclass(frozen=True)
class Measured:
    """What a network came to."""

    name: str
    independent: Distances
    aberrated: Distances
    beads: Distances
    size_mb: float
    tile_ms: float
    trained: str


def measure(name: str, test: TestSet, sharp: list[Sharp]) -> Measured:
    """Try an installed model."""
    raw, card = load_model(name)
    network = prepare(raw, device=torch.device("cpu"))
    tile = np.random.default_rng(0).random((224, 224), np.float32)
    times = []
    for _ in range(6):
        begun = time.perf_counter()
        ldsenet.measure_plane(network, tile, sampling=0.5)
        times.append(1000 * (time.perf_counter() - begun))
    seconds = card.training.get("seconds")
    return Measured(
        name,
        _independent(network, test),
        _aberrated(network, sharp),
        _beads(network),
        (find_model(name) / WEIGHTS).stat().st_size / 1e6,
        float(np.median(times)),
        "–" if seconds is None else f"{seconds / 3600:.1f} h",
    )


def _independent(network: ldsenet.Conditioned, test: TestSet) -> Distances:
    """Patches by the electromagnetic PSF, which looks alike on both sides: |z| counts."""
    um = np.array([1.0] * len(test.dof))
    for objective in OBJECTIVES:
        known = Calibration(objective.na, objective.wavelength_um, objective.pixel_um, objective.index)
        um[np.isclose(test.sampling, objective.sampling)] = known.um_per_wave
    x = torch.from_numpy(np.ascontiguousarray(test.tiles, dtype=np.float32))[:, None]
    q = torch.from_numpy(test.sampling.astype(np.float32))
    with torch.inference_mode():
        out = torch.cat([network(a, b) for a, b in zip(x.split(32), q.split(32), strict=True)])
    waves, _ = ldsenet.signed_waves(out, q)
    return Distances(test.waves * um, waves.numpy() * um, test.image)


def _aberrated(network: ldsenet.Conditioned, sharp: list[Sharp]) -> Distances:
    """The paper's optics (20×/0.75) with a fifth of a wave of spherical aberration, by the training's own model."""
    settings = PAPERS.model_copy(update={"spherical_waves": 0.2})
    known = Calibration(settings.na, settings.wavelength_um, settings.pixel_um, settings.index)
    truth, found, group = [], [], []
    for i, image in enumerate(sharp):
        plane = np.asarray(image.levels[-1], np.float32)[:512, :512]
        made = simulate(plane, settings.model_copy(update={"seed": i}))
        for z, slice_ in enumerate(made.stack.planes()):
            there = ldsenet.measure_plane(network, slice_, sampling=known.sampling)
            judged = there.waves[~there.blank] * known.um_per_wave
            found += judged.tolist()
            truth += [float(settings.heights_um[z])] * len(judged)
            group += [i] * len(judged)
    return Distances(np.asarray(truth), np.asarray(found), np.asarray(group))


def _beads(network: ldsenet.Conditioned) -> Distances:
    """Real beads: means of slices, heights from the focused slice (by eye) and the step."""
    truth, found, group = [], [], []
    for name in BEADS:
        try:
            stack = load(name)
        except OSError:
            continue
        for z, plane in enumerate(stack.planes()):
            there = ldsenet.measure_plane(network, plane, sampling=BEADS_OPTICS.sampling)
            judged = there.waves[~there.blank] * BEADS_OPTICS.um_per_wave
            truth.append((z - BEADS_FOCUS) * BEADS_STEP_UM)
            found.append(float(judged.mean()) if len(judged) else np.nan)
            group.append(name)
    return Distances(np.asarray(truth), np.asarray(found), np.asarray(group))


def by_order(d: Distances) -> Distances:
    """The same with signs from the order of the slices (real stacks only)."""
    found = d.found.copy()
    for name in np.unique(d.group):
        here = d.group == name
        distance = np.abs(found[here])
        found[here] = distance * sides(distance[:, None], d.truth[here]).signs[:, 0]
    return Distances(d.truth, found, d.group)


def markdown(measured: list[Measured]) -> str:
    """The tables."""
    bands = [f"{a:g}–{b:g} µm" for a, b in BANDS_UM]
    lines = [
        "Median error of |z| in µm (95 % by image or stack).",
        "",
        f"| model | test | {' | '.join(bands)} | side right, by the image alone |",
        f"| --- | --- |{' --- |' * (len(bands) + 1)}",
    ]
    for m in measured:
        for title, d in (
            ("simulated, independent optics", m.independent),
            ("simulated, 20×/0.75 with aberration", m.aberrated),
            ("real beads", m.beads),
        ):
            cells = [_band(d, *band).number() for band in BANDS_UM]
            side = "–" if title.startswith("simulated, ind") else _sides(d)
            lines.append(f"| {m.name} | {title} | {' | '.join(cells)} | {side} |")
    lines += ["", "| model | MB | ms a tile of 224 px | training | beads: correlation, wrong signs by order (±10 µm) |"]
    lines.append("| --- | --- | --- | --- | --- |")
    for m in measured:
        ordered = by_order(m.beads)
        told = "–"
        if len(ordered.truth):
            near = (np.abs(ordered.truth) <= 10) & (ordered.truth != 0)
            r = np.corrcoef(ordered.truth[near], ordered.found[near])[0, 1]
            wrong = int((np.sign(ordered.found) != np.sign(ordered.truth))[near].sum())
            told = f"{r:.3f}, {wrong} of {int(near.sum())}"
        lines.append(f"| {m.name} | {m.size_mb:.2f} | {m.tile_ms:.0f} | {m.trained} | {told} |")
    return "\n".join(lines)


def _band(d: Distances, low: float, high: float) -> Interval:
    inside = (np.abs(d.truth) >= low) & (np.abs(d.truth) < high)
    return median(np.abs(np.abs(d.found) - np.abs(d.truth))[inside], d.group[inside])


def _sides(d: Distances) -> str:
    """Share of right signs among what is at least 2 µm out; the direction of a real stack is not known: the better."""
    far = (np.abs(d.truth) >= 2) & np.isfinite(d.found)
    if not far.any():
        return "–"
    return f"{100 * float((np.sign(d.found) == np.sign(d.truth))[far].mean()):.0f} %"
