"""How well blurred images are restored, on sources and optics that no training has seen.

Tiles of the held-out sharp images are blurred by the electromagnetic PSF of the `psf` package (defocus), or moved
during the exposure (motion), photographed with noise, and restored by every method. PSNR and SSIM against the image
that the same objective would give in focus, at rest and without noise; a perceptual distance in the focus classifier's
features (0 is alike). Classical methods twice: with the kernel that they estimate, and with the true one. Means over
images with 95 % bootstrap intervals by image. Sets of blur are those of MMDF's Table 3: *recorded-like* (defocus, the
motion of a scan), *synthetic* (random paths), *mixed* (all). Weights that are not bundled are found where
FOCUSSTACK_MODELS says. Networks trained on single sets (``focusstack train deblur_unet --set blur=recorded ...``) get
Table 3 itself: each trained and tried on the same set.

    python benchmarks/deblurring.py -o report [--quick]
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from skimage.metrics import structural_similarity

from napari_focusstack.core.deblur import DEBLURRERS, Wish, default_deblurrer
from napari_focusstack.core.errors import InputError
from napari_focusstack.core.progress import drain
from napari_focusstack.training import camera
from napari_focusstack.training.library import CRISP_PX, Sharp, cut, edge_width, load
from napari_focusstack.training.pairs import path_kernel, scan_kernel
from napari_focusstack.training.perceptual import perceptual_features

sys.path.insert(0, str(Path(__file__).parent / "accuracy"))
import heldout
import real_patches

SIDE, MARGIN = 256, 48
TEST = ("neubias", "qupath_he")
KINDS = ("defocus", "scan", "path")
SETS = {"recorded-like": ("defocus", "scan"), "synthetic": ("path",)}
BLURS = {"recorded": SETS["recorded-like"], "synthetic": SETS["synthetic"], "mixed": KINDS}
"""The kinds of blur in each training set."""


@dataclass(frozen=True)
class Sample:
    """A blurred tile, its truth, what blurred it, and what of that is left in the truth; float32, 0 … 1.

    Defocus is one kernel with the objective's own blur, `kept`, which nobody is asked to take away; motion comes on top
    of it (`kept` is a point then).
    """

    blurred: np.ndarray
    truth: np.ndarray
    kernel: np.ndarray
    kept: np.ndarray
    image: str
    kind: str


@dataclass
class Row:
    """Figures of a method, one for each sample."""

    name: str
    psnr: list[float] = field(default_factory=list)
    ssim: list[float] = field(default_factory=list)
    distance: list[float] = field(default_factory=list)
    seconds: float = 0.0


def samples(images: list[Sharp], *, each: int, seed: int) -> list[Sample]:
    """Blurred tiles of the images that are sharp to begin with."""
    rng, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    made = []
    for image in images:
        level = image.levels[0]
        if edge_width(level.astype(np.float32)) > CRISP_PX:
            continue
        for _ in range(each):
            tile = cut(level, SIDE + 2 * MARGIN, rng)
            if tile.std() < 0.05:
                continue
            kind = str(rng.choice(KINDS))
            made.append(_sample(tile, image.name, kind, rng, generator))
    return made


def _sample(tile: np.ndarray, name: str, kind: str, rng: np.random.Generator, generator: torch.Generator) -> Sample:
    objective = heldout.OBJECTIVES[rng.integers(len(heldout.OBJECTIVES))]
    in_focus = kept = heldout.kernel(objective, 0.0)
    focused = cv2.filter2D(tile, cv2.CV_32F, in_focus, borderType=cv2.BORDER_REFLECT)
    if kind == "defocus":
        # As many µm as blur to a disc of 1.5 to 7 px.
        reach = rng.uniform(1.5, 7) * objective.pixel_um
        z = reach / np.tan(np.arcsin(objective.na / objective.index))
        kernel = heldout.kernel(objective, float(z), most_px=2 * MARGIN - 1)
        moved = cv2.filter2D(tile, cv2.CV_32F, kernel, borderType=cv2.BORDER_REFLECT)
    else:
        kept = np.ones((1, 1), np.float32)
        kernel = (
            scan_kernel(rng.uniform(3, 14), angle=rng.uniform(0, 2 * np.pi), ramp=rng.uniform(-0.5, 0.5))
            if kind == "scan"
            else path_kernel(int(rng.choice((5, 9, 15))), rng)
        )
        moved = cv2.filter2D(focused, cv2.CV_32F, kernel[::-1, ::-1].copy(), borderType=cv2.BORDER_REFLECT)
    bright = rng.random() < 0.5
    base, gain = (0.85, -rng.uniform(0.3, 0.75)) if bright else (0.05, rng.uniform(0.3, 0.9))
    light = torch.from_numpy(np.clip(base + gain * moved, 0, 1))[None]
    electrons = float(10 ** rng.uniform(3.2, 4.6))
    taken = camera.expose(light, electrons=electrons, read_noise=2.0, generator=generator)
    taken = camera.digitise(taken, bits=int(rng.choice((8, 12))))[0].numpy()
    inner = (slice(MARGIN, -MARGIN), slice(MARGIN, -MARGIN))
    truth = np.clip(base + gain * focused, 0, 1)[inner]
    low, high = np.quantile(taken[inner], (0.001, 0.999))
    span = max(float(high - low), 1e-3)
    return Sample(
        np.ascontiguousarray((taken[inner] - low) / span, np.float32),
        np.ascontiguousarray((truth - low) / span, np.float32),
        kernel,
        kept,
        name,
        kind,
    )


def measure(name: str, restore: Callable[[Sample], np.ndarray], tiles: list[Sample], features: object) -> Row:
    """Restore all tiles and compare them with their truths."""
    row = Row(name)
    for one in tiles:
        begin = time.process_time()
        made = np.asarray(restore(one), np.float32)
        row.seconds += time.process_time() - begin
        error = float(np.mean((made - one.truth) ** 2))
        row.psnr.append(-10 * np.log10(max(error, 1e-10)))
        row.ssim.append(float(structural_similarity(made, one.truth, data_range=1.0)))
        row.distance.append(_perceptual(features, made, one.truth))
    return row


def _perceptual(features: object, a: np.ndarray, b: np.ndarray) -> float:
    if features is None:
        return float("nan")
    with torch.inference_mode():
        fa, fb = (features(torch.from_numpy(np.ascontiguousarray(x))[None, None]) for x in (a, b))
        return float((fa - fb).square().sum(dim=1).mean())


def interval(values: list[float], images: list[str]) -> tuple[float, float, float]:
    """Mean and its 95 % interval; images are drawn, not tiles."""
    rng = np.random.default_rng(0)
    groups = {k: np.asarray([v for v, i in zip(values, images, strict=True) if i == k]) for k in dict.fromkeys(images)}
    sums, counts = np.asarray([[g.sum(), len(g)] for g in groups.values()]).T
    draws = rng.integers(len(sums), size=(2000, len(sums)))
    means = sums[draws].sum(axis=1) / counts[draws].sum(axis=1)
    return float(np.mean(values)), *(float(v) for v in np.quantile(means, (0.025, 0.975)))


def table(rows: list[Row], tiles: list[Sample]) -> str:
    """Markdown."""
    images = [t.image for t in tiles]
    counts = ", ".join(f"{sum(t.kind == k for t in tiles)} {k}" for k in KINDS)
    lines = [
        f"{len(tiles)} tiles of {SIDE} px ({counts}) from {len(set(images))} images of sources that nothing was "
        "trained on.",
        "",
        "| method | trained on | mixed: PSNR dB [95 %] | SSIM [95 %] | "
        + " | ".join(f"{name}: dB / SSIM" for name in SETS)
        + " | distance | CPU s a tile |",
        "| --- | --- | --- | --- | " + "--- | " * len(SETS) + "--- | --- |",
    ]
    for row in rows:
        psnr, ssim = interval(row.psnr, images), interval(row.ssim, images)
        sets = [_cell(row, [t.kind in kinds for t in tiles]) for kinds in SETS.values()]
        lines.append(
            f"| {row.name} | {trained(row.name)} | {psnr[0]:.2f} [{psnr[1]:.2f}, {psnr[2]:.2f}] "
            f"| {ssim[0]:.3f} [{ssim[1]:.3f}, {ssim[2]:.3f}] | "
            + " | ".join(sets)
            + f" | {np.mean(row.distance):.4f} | {row.seconds / len(tiles):.2f} |"
        )
    return "\n".join(lines)


def paired(rows: list[Row], tiles: list[Sample]) -> str:
    """By how much the default method lies above each other one on the same tiles, with 95 % intervals by image."""
    images = [t.image for t in tiles]
    best = next((row for row in rows if row.name == f"`{default_deblurrer()}`"), None)
    if best is None:
        return ""
    lines = [f"| {best.name} minus | PSNR dB | SSIM |", "| --- | --- | --- |"]
    for row in rows:
        if row is best:
            continue
        psnr = interval([a - b for a, b in zip(best.psnr, row.psnr, strict=True)], images)
        ssim = interval([a - b for a, b in zip(best.ssim, row.ssim, strict=True)], images)
        cells = f"{psnr[0]:+.2f} [{psnr[1]:+.2f}, {psnr[2]:+.2f}] | {ssim[0]:+.3f} [{ssim[1]:+.3f}, {ssim[2]:+.3f}]"
        lines.append(f"| {row.name} | {cells} |")
    return "\n".join(lines)


def table_of_sets(rows: list[Row], tiles: list[Sample]) -> str:
    """The paper's Table 3 as Markdown: each network trained on a set of blur and tried on that set."""
    found: dict[str, dict[str, Row]] = {}
    for row in rows:
        training = _training(row.name)
        if training is not None:
            found.setdefault(training["recipe"], {})[training["data"]["blur"]] = row
    plain = next(row for row in rows if row.name == "blurred image")
    shown = {"blurred image": dict.fromkeys(BLURS, plain)} | {f"`{k}`": of for k, of in found.items() if len(of) > 1}
    if len(shown) == 1:
        return ""
    lines = ["| trained and tried on | " + " | ".join(BLURS) + " |", "| --- |" + " --- |" * len(BLURS)]
    for name, of in shown.items():
        cells = [
            _cell(of[blur], [t.kind in kinds for t in tiles]) if blur in of else "" for blur, kinds in BLURS.items()
        ]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(row: Row, part: list[bool]) -> str:
    return f"{np.mean(np.compress(part, row.psnr)):.2f} / {np.mean(np.compress(part, row.ssim)):.3f}"


def _training(name: str) -> Mapping[str, Any] | None:
    """What a network's card tells of its training; None for classical methods."""
    plain = name.strip("`")
    card = DEBLURRERS[plain].card if plain in DEBLURRERS else None
    return None if card is None else card.training


def trained(name: str) -> str:
    """On how many pairs of which set a network was trained, as its card tells."""
    training = _training(name)
    return "" if training is None else f"{training['samples']:,} pairs, {training['data']['blur']}"


def _run(name: str, wish: Callable[[Sample], Wish]) -> Callable[[Sample], np.ndarray]:
    return lambda one: drain(DEBLURRERS[name].run(one.blurred, wish(one)))


def contestants(only: list[str] | None) -> dict[str, Callable[[Sample], np.ndarray]]:
    """Methods by the names of their rows, classical ones with either kernel; where names are given, only those."""
    methods: dict[str, Callable[[Sample], np.ndarray]] = {"blurred image": lambda one: one.blurred}
    for one in DEBLURRERS:
        if only is not None and one.name not in only:
            continue
        estimated = f"`{one.name}`" if one.learned else f"`{one.name}`, kernel estimated"
        methods[estimated] = _run(one.name, lambda _: Wish())
        if not one.learned:
            methods[f"`{one.name}`, true kernel"] = _run_with_truth(one.name)
    return methods


def _run_with_truth(name: str) -> Callable[[Sample], np.ndarray]:
    """Told the whole kernel, a method takes away the objective's own blur, too: the truth has it, so it is put back."""

    def run(one: Sample) -> np.ndarray:
        sharper = drain(DEBLURRERS[name].run(one.blurred, Wish(kernel=one.kernel)))
        return cv2.filter2D(np.asarray(sharper, np.float32), cv2.CV_32F, one.kept, borderType=cv2.BORDER_REFLECT)

    return run


def picture(tiles: list[Sample], methods: dict[str, Callable[[Sample], np.ndarray]], path: Path) -> None:
    """Rows: tiles; columns: blurred, each method, truth."""
    rows = []
    for one in tiles:
        cells = [one.blurred, *(run(one) for run in methods.values()), one.truth]
        rows.append(np.hstack([np.clip(c[:160, :160] * 230 + 12, 0, 255).astype(np.uint8) for c in cells]))
    cv2.imwrite(str(path), np.vstack(rows))


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("-o", "--output", type=Path, default=Path("deblurring"))
    options.add_argument("--quick", action="store_true", help="few tiles: to see that it runs")
    options.add_argument("--each", type=int, default=4, help="tiles of each image")
    options.add_argument("--methods", nargs="+", help="only these; all where not given")
    given = options.parse_args()
    if not real_patches.DATA.is_dir():
        sys.exit(f"'{real_patches.DATA}' is not there: the sharp images are needed.")
    given.output.mkdir(parents=True, exist_ok=True)
    images = drain(load(real_patches.DATA / "sharp", sources=list(TEST), limit=8 if given.quick else None))
    tiles = samples(images, each=1 if given.quick else given.each, seed=11)
    try:
        features = perceptual_features()
    except InputError as error:
        print(f"no perceptual distance: {error}", file=sys.stderr)
        features = None
    methods = contestants(given.methods)
    rows = []
    for name, restore in methods.items():
        rows.append(measure(name, restore, tiles, features))
        print(f"{name}: {np.mean(rows[-1].psnr):.2f} dB", file=sys.stderr, flush=True)
    text = f"# Deblurring\n\n{table(rows, tiles)}\n\n{paired(rows, tiles)}\n\n{table_of_sets(rows, tiles)}\n"
    shown = {k: v for k, v in methods.items() if k != "blurred image" and "true" not in k}
    picture(tiles[:: max(1, len(tiles) // 5)][:5], shown, given.output / "deblurring.png")
    (given.output / "deblurring.md").write_text(text + "\n![Deblurring](deblurring.png)\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
