"""Do metrics without a reference rank what was done to an image? On sources that nothing was trained on.

Tiles of the held-out sharp images are distorted at six strengths by each of nine kinds: four that BRISQUE and CNNIQA
were trained on (by other code here: other sources, other strengths) and five that they were not. For each tile, the
rank correlation (Spearman) of a metric with the strength, the sign turned so that 1 is right; then, over all the
versions of a tile by kinds not trained on, with their structural similarity to the original (windows counted by
contrast). Means over images with 95 % bootstrap intervals by image. Then slices of real development stacks, ranked by
their distance from the one that an expert picked; and fused images: scenes of held-out sources, fused by several
methods, and the rank correlation with their PSNR against the truth.

A metric is bundled, and so stands in `focusstack quality` and the panel, only if the interval of "all not trained on"
lies above 0.5, which was fixed before the first run, and if it also follows the real stacks, which was added after a
look at one of them.

    python benchmarks/blind_quality.py [--each 1] [--limit 40] [--parts distortions stacks fusion]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from scipy.stats import spearmanr

sys.path.insert(0, str(Path(__file__).parent / "accuracy"))
sys.path.insert(0, str(Path(__file__).parent))
import heldout
import real_patches

from deblurring import TEST, interval
from napari_focusstack.core.fusion import METHODS, fuse_series
from napari_focusstack.core.progress import drain
from napari_focusstack.core.quality import METRICS, assess, psnr
from napari_focusstack.core.stack import from_array
from napari_focusstack.io.labels import read_labels
from napari_focusstack.training import camera
from napari_focusstack.training.distortions import lit, rated
from napari_focusstack.training.library import CRISP_PX, cut, edge_width, load
from napari_focusstack.training.pairs import scan_kernel
from scenes import photographed

SIDE, LEVELS = 256, 6
BLIND = ("brisque", "cnniqa", "ag", "sf")
FUSED = ("pyramid", "select", "dwt", "dtcwt", "gff", "dsift")
STACKS = ("organoid_A01", "organoid_A02", "yeast", "nucleus")
PARTS = ("distortions", "stacks", "fusion")
Plane = np.ndarray


def _blur(plane: Plane, t: float, _: np.random.Generator) -> Plane:
    return cv2.GaussianBlur(plane, (0, 0), 0.6 * 8**t)


def _noise(plane: Plane, t: float, rng: np.random.Generator) -> Plane:
    return plane + 0.006 * 25**t * rng.standard_normal(plane.shape, np.float32)


def _jpeg(plane: Plane, t: float, _: np.random.Generator) -> Plane:
    return camera.compress(torch.from_numpy(plane), quality=round(75 - 70 * t)).numpy()


def _few_levels(plane: Plane, t: float, _: np.random.Generator) -> Plane:
    steps = round(64 / 12**t)
    return np.rint(plane * steps) / steps


def _defocus(plane: Plane, t: float, rng: np.random.Generator) -> Plane:
    objective = heldout.OBJECTIVES[3]
    z = (1 + 6 * t) * objective.pixel_um / np.tan(np.arcsin(objective.na / objective.index))
    return cv2.filter2D(plane, cv2.CV_32F, heldout.kernel(objective, float(z), most_px=61))


def _scan(plane: Plane, t: float, rng: np.random.Generator) -> Plane:
    return cv2.filter2D(plane, cv2.CV_32F, scan_kernel(2 + 14 * t, angle=0.7))


def _grain(plane: Plane, t: float, rng: np.random.Generator) -> Plane:
    """Noise that a smoothing camera has correlated."""
    grain = cv2.GaussianBlur(rng.standard_normal(plane.shape, np.float32), (0, 0), 1.0)
    return plane + 0.006 * 20**t * grain / grain.std()


def _hot_pixels(plane: Plane, t: float, rng: np.random.Generator) -> Plane:
    share = 0.0005 * 100**t
    return np.where(rng.random(plane.shape) < share, rng.random(plane.shape) < 0.5, plane)


def _coarse(plane: Plane, t: float, _: np.random.Generator) -> Plane:
    """Fewer pixels, enlarged again."""
    factor = 1.3 * 5**t
    small = cv2.resize(plane, None, fx=1 / factor, fy=1 / factor, interpolation=cv2.INTER_AREA)
    return cv2.resize(small, plane.shape[::-1], interpolation=cv2.INTER_CUBIC)


SEEN: dict[str, Callable[..., Plane]] = {"blur": _blur, "noise": _noise, "JPEG": _jpeg, "few levels": _few_levels}
UNSEEN: dict[str, Callable[..., Plane]] = {
    "defocus": _defocus,
    "scan": _scan,
    "grain": _grain,
    "hot pixels": _hot_pixels,
    "coarse": _coarse,
}


def values(image: Plane) -> dict[str, float]:
    """What each metric without a reference says of an image of 0 … 1, as 16 bit."""
    shown = np.rint(np.clip(image, 0, 1) * 65535).astype(np.uint16)
    names = [name for name in BLIND if name in METRICS]
    return {one.metric.name: one.value for one in drain(assess(shown, metrics=names))}


def versions(tile: Plane, rng: np.random.Generator) -> tuple[dict[str, list[Plane]], Plane]:
    """Every kind at every strength of what a good camera made of the light; and that light."""
    light = lit(tile, rng)
    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
    taken = camera.expose(torch.from_numpy(light)[None], electrons=3e4, read_noise=2.0, generator=generator)[0].numpy()
    strengths = np.linspace(0, 1, LEVELS)
    made = {kind: [f(taken, t, rng) for t in strengths] for kind, f in {**SEEN, **UNSEEN}.items()}
    return {kind: [np.clip(p, 0, 1).astype(np.float32) for p in planes] for kind, planes in made.items()}, light


def worth_of(image: Plane, light: Plane) -> float:
    """The truth that a version is ranked by, over kinds."""
    both = (torch.from_numpy(np.ascontiguousarray(a))[None, None] for a in (image, light))
    return float(rated(*both, reach=np.ones(1), rng=np.random.default_rng(0)).quality)


def rank(found: list[float], true: list[float]) -> float:
    """Spearman's correlation; 0 where a metric says the same of all."""
    return 0.0 if np.ptp(found) == 0 else float(spearmanr(found, true).statistic)


def distortions(limit: int | None, each: int) -> str:
    """Markdown: rank correlations by metric and kind."""
    images = drain(load(real_patches.DATA / "sharp", sources=list(TEST), limit=limit))
    rng = np.random.default_rng(17)
    results: dict[tuple[str, str], list[float]] = {}
    names: list[str] = []
    for image in images:
        level = image.levels[0]
        if edge_width(level.astype(np.float32)) > CRISP_PX:
            continue
        for _ in range(each):
            tile = cut(level, SIDE, rng)
            if tile.std() < 0.05:
                continue
            names.append(image.name)
            made, light = versions(tile, rng)
            said = {kind: [values(p) for p in planes] for kind, planes in made.items()}
            true = [worth_of(p, light) for kind in UNSEEN for p in made[kind]]
            for metric in next(iter(said.values()))[0]:
                for kind, rows in said.items():
                    rho = rank([r[metric] for r in rows], [-float(i) for i in range(LEVELS)])
                    results.setdefault((metric, kind), []).append(rho)
                together = rank([r[metric] for kind in UNSEEN for r in said[kind]], true)
                results.setdefault((metric, "all"), []).append(together)
        print(f"{image.name}", file=sys.stderr, flush=True)
    columns = [*SEEN, *UNSEEN]
    lines = [
        f"{len(names)} tiles of {SIDE} px from {len(set(names))} images; Spearman's ρ within a tile, 1 is right.",
        "",
        f"| metric | {' | '.join(SEEN)} | {' | '.join(f'*{k}*' for k in UNSEEN)} | all not trained on [95 %] |",
        "| --- " * (len(columns) + 2) + "|",
    ]
    for metric in dict.fromkeys(m for m, _ in results):
        cells = [f"{np.mean(results[metric, kind]):.2f}" for kind in columns]
        mean, low, high = interval(results[metric, "all"], names)
        lines.append(f"| `{metric}` | {' | '.join(cells)} | {mean:.2f} [{low:.2f}, {high:.2f}] |")
    return "\n".join(lines)


def stacks() -> str:
    """Markdown: rank correlation of slices with their nearness to the labelled one, at most 12 from it."""
    known = read_labels(real_patches.DATA / "labels.csv")
    best = {place.stack: truth.best for place, truth in known.items()}
    results: dict[str, list[float]] = {}
    for name in STACKS:
        stack = real_patches.load(name)
        near = [z for z in range(stack.n_slices) if abs(z - best[name]) <= 12]
        blind = [b for b in BLIND if b in METRICS]
        said = [{q.metric.name: q.value for q in drain(assess(stack.plane(z), metrics=blind))} for z in near]
        for metric in blind:
            rho = rank([one[metric] for one in said], [-abs(z - best[name]) for z in near])
            results.setdefault(metric, []).append(rho)
    lines = ["Slices of real stacks: ρ with their nearness to the labelled slice.", ""]
    lines += [f"| metric | {' | '.join(STACKS)} |", "| --- " * (len(STACKS) + 1) + "|"]
    lines += [f"| `{m}` | {' | '.join(f'{rho:.2f}' for rho in rhos)} |" for m, rhos in results.items()]
    return "\n".join(lines)


def fusions() -> str:
    """Markdown: rank correlation with PSNR among the fused images of a scene."""
    results: dict[str, list[float]] = {}
    names: list[str] = []
    for source in TEST:
        for seed in range(4):
            scene = photographed(real_patches.DATA / "sharp" / source, (256, 256), seed)
            stack, truth = scene.stack(5), scene.truth()
            scene.forget()
            series = from_array(stack, axes="ZYXS" if stack.ndim == 4 else "ZYX")
            made = [drain(fuse_series(series, method=m)).image for m in FUSED if m in METHODS]
            made.append(np.rint(stack.mean(axis=0)).astype(stack.dtype))
            made += [stack[0], stack[2]]
            true = [psnr(m, truth) for m in made]
            said = [
                {q.metric.name: q.value for q in drain(assess(m, metrics=list(values(stack[0] / 255.0))))} for m in made
            ]
            names.append(scene.name)
            for metric in said[0]:
                results.setdefault(metric, []).append(rank([s[metric] for s in said], true))
    lines = [
        f"{len(names)} scenes of held-out sources, 5 slices, each fused by {len(FUSED)} methods and the mean, and two "
        "of the slices: ρ with PSNR against the truth.",
        "",
        "| metric | ρ [95 %] |",
        "| --- | --- |",
    ]
    for metric, rhos in results.items():
        mean, low, high = interval(rhos, names)
        lines.append(f"| `{metric}` | {mean:.2f} [{low:.2f}, {high:.2f}] |")
    return "\n".join(lines)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--each", type=int, default=1, help="tiles of each image")
    options.add_argument("--limit", type=int, help="images of each source")
    options.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="what to test on")
    given = options.parse_args()
    if not real_patches.DATA.is_dir():
        sys.exit(f"'{real_patches.DATA}' is not there: the sharp images are needed.")
    cv2.setNumThreads(1)
    if "distortions" in given.parts:
        print(distortions(given.limit, given.each) + "\n", flush=True)
    if "stacks" in given.parts:
        print(stacks() + "\n", flush=True)
    if "fusion" in given.parts:
        print(fusions())


if __name__ == "__main__":
    main()
