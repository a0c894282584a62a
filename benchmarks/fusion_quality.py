"""How close fusion comes to the truth: PSNR and SSIM by scene, number of slices and method, as Markdown.

    python benchmarks/fusion_quality.py [--sharp ../shared/data/sharp] [--size 576 704] [--slices 5 20] [--held-out]
                                        [--methods pyramid …]

Beside our methods stand an OpenCV pyramid with the strongest coefficient (peers/opencv_pyramid.py) and the plain pixel
of the slice with the strongest Laplacian. Depth errors are medians in slices over pixels of confidence 0.3 or more, and
the share of those pixels. Scenes: see scenes.py; those that no setting was chosen on are marked with a star.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
import scenes
from napari_focusstack.core.fusion import METHODS, fuse_series
from napari_focusstack.core.progress import drain
from napari_focusstack.core.quality import psnr, ssim
from napari_focusstack.core.stack import from_array
from peers import argmax, opencv_pyramid


def peer_pyramid(stack: np.ndarray) -> np.ndarray:
    top = np.iinfo(stack.dtype).max
    return np.clip(np.rint(opencv_pyramid.fuse(list(stack))), 0, top).astype(stack.dtype)


def peer_argmax(stack: np.ndarray) -> np.ndarray:
    return argmax.fuse(list(stack))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sharp", type=Path, default=Path("../shared/data/sharp"))
    parser.add_argument("--size", type=int, nargs=2, default=(576, 704))
    parser.add_argument("--slices", type=int, nargs="+", default=(5, 20))
    parser.add_argument("--flicker", type=float, help="instead of the scene's own, e.g. 0.06")
    parser.add_argument("--held-out", action="store_true", help="only scenes that no setting was chosen on")
    parser.add_argument("--methods", nargs="+", default=METHODS.names(), help="in place of all")
    arguments = parser.parse_args()

    peers: dict[str, Callable[[np.ndarray], np.ndarray]] = {"argmax": peer_argmax, "OpenCV pyramid": peer_pyramid}
    names = [*peers, *arguments.methods]
    print("| scene | slices | " + " | ".join(names) + " | depth error (share) |")
    print("| --- " * (len(names) + 3) + "|")
    totals: dict[tuple[bool, int], list[list[tuple[float, float]]]] = {}
    for scene in scenes.scenes(tuple(arguments.size), arguments.sharp):
        if arguments.held_out and not scene.held_out:
            continue
        truth, height = scene.truth(), scene.height()
        for n in arguments.slices:
            stack = scene.stack(n, flicker=arguments.flicker)
            scores = [_scores(fuse(stack), truth) for fuse in peers.values()]
            depth = ""
            for method in arguments.methods:
                series = from_array(stack, axes="ZYXS" if stack.ndim == 4 else "ZYX", z_um=1.0)
                fused = drain(fuse_series(series, method=method))
                scores.append(_scores(fused.image, truth))
                if method == arguments.methods[0]:
                    sure = fused.confidence > 0.3
                    error = np.abs(fused.depth_um - height * (n - 1))[sure]
                    depth = f"{np.median(error):.2f} ({sure.mean():.0%})" if sure.any() else "-"
            totals.setdefault((scene.held_out, n), []).append(scores)
            print(f"| {scene.name}{'*' * scene.held_out} | {n} | {_cells(scores)} | {depth} |", flush=True)
        scene.forget()
    for (held_out, n), scores in sorted(totals.items()):
        print(f"| **mean{' held out*' if held_out else ''}** | {n} | {_cells(np.mean(scores, axis=0))} | |")


def _scores(image: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    return psnr(image, truth), ssim(image, truth)


def _cells(scores: list[tuple[float, float]]) -> str:
    return " | ".join(f"{p:.2f} / {s:.3f}" for p, s in scores)


if __name__ == "__main__":
    main()
