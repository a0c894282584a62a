"""All fusion methods side by side: quality with and without truth, time, memory, and difference images.

    python benchmarks/fusion [--quick] [--data ../shared/data] [--methods pyramid gff …] [--out FOLDER]
    python benchmarks/fusion --pairs [--noise 0.25] [--methods …]      two slices only, and only their quality

One run makes three parts, as Markdown:

1. Quality: Q^AB/F, average gradient, SSIM, PSNR and mutual information, the means over pairs of slices, scenes of 5 and
   of 20 slices (SSIM and PSNR against the truth), and real stacks (no truth: SSIM and PSNR against the slices, which
   rewards blur). *Rank* is the mean of the ranks by the five metrics over all stacks of the group, 1 the best.
2. Time and memory of whole processes on five RGB slices of 1936 × 1216, see fusion_speed.py.
3. In FOLDER, difference images of a few stacks: what is left where a slice is sharp has not arrived.

No setting was chosen on any of these pairs and scenes, and no published multi-focus pair is among them.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]
from material import FIVE, PAIRS, REAL, TWENTY, Item, material, two_slices
from pictures import draw_differences
from scipy.stats import rankdata

from napari_focusstack.core.fusion import METHODS, fuse_series
from napari_focusstack.core.progress import drain
from napari_focusstack.core.quality import assess
from peers.argmax import fuse as argmax

METRICS = ("qabf", "ag", "ssim", "psnr", "mi")
TITLES = ("Q^AB/F", "AG", "SSIM", "PSNR", "MI")
PICTURES = 2
"""Sheets of differences for each group."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a few small stacks, fast methods: a minute or two")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--methods", nargs="+", help="in place of all")
    parser.add_argument("--out", type=Path, help="folder for difference images")
    parser.add_argument("--pairs", action="store_true", help="two slices only, no speed")
    parser.add_argument("--noise", type=float, default=1.0, help="with --pairs: factor on the noise of a good camera")
    arguments = parser.parse_args()
    if arguments.noise != 1 and not arguments.pairs:
        parser.error("--noise changes the pairs alone: give --pairs, too")
    slow = {"nsct", "cnn"} if arguments.quick else set()
    names = arguments.methods or [m for m in METHODS.names() if m not in slow]
    data = arguments.data if arguments.data.is_dir() else None

    found: dict[str, list[np.ndarray]] = {}
    items = (
        two_slices(data, quick=arguments.quick, noise=arguments.noise)
        if arguments.pairs
        else material(data, quick=arguments.quick)
    )
    for item in items:
        started = time.perf_counter()
        fused = {"argmax": argmax(list(item.stack.planes()))}
        fused |= {name: drain(fuse_series(item.stack, method=name)).image for name in names}
        rows = found.setdefault(item.group, [])
        rows.append(np.array([_metrics(image, item) for image in fused.values()]))
        if arguments.out is not None and len(rows) <= PICTURES:
            draw_differences(arguments.out / f"{item.group} {item.name}.png", list(item.stack.planes()), fused)
        print(f"{item.group}, {item.name}: {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)
    for group in (PAIRS, FIVE, TWENTY, REAL):
        if group in found:
            _print_quality(group, ["argmax", *names], np.array(found[group]))
    if arguments.pairs:
        return
    print("\n**time and memory**\n", flush=True)
    # In a process of its own: a child's peak memory starts from its parent's.
    speed = [sys.executable, str(HERE.parent / "fusion_speed.py"), "--repeats", "1" if arguments.quick else "3"]
    subprocess.run([*speed, "--slices", "5", "--kinds", "rgb 8 bit", "--methods", *names], check=True)


def _metrics(image: np.ndarray, item: Item) -> list[float]:
    found = {q.metric.name: q.value for q in drain(assess(image, sources=item.stack, reference=item.truth))}
    return [found[name] for name in METRICS]


def _print_quality(group: str, names: list[str], values: np.ndarray) -> None:
    """A table of means; `values` is (stacks, methods, metrics), higher is better."""
    ranks = rankdata(-values, axis=1).mean(axis=(0, 2))
    print(f"\n**{group}** ({len(values)})\n\n| method | {' | '.join(TITLES)} | rank |\n" + "| --- " * 7 + "|")
    for name, mean, rank in zip(names, values.mean(axis=0), ranks, strict=True):
        q, ag, ssim, psnr, mi = mean
        print(f"| {name} | {q:.4f} | {ag:.4g} | {ssim:.4f} | {psnr:.2f} | {mi:.4f} | {rank:.2f} |")


if __name__ == "__main__":
    main()
