"""Networks that make the fused image themselves, on sources that none of them has seen: Table 4 of MMDF, with a truth.

Scenes are made of the held-out sharp images (`neubias`, `qupath_he`): one opaque layer before another, five slices,
blur of up to 30 px, noise and flicker (scenes.py, which shares no code with the training). PSNR and SSIM against the
truth, and the metrics without a reference that are installed, which are what the paper has; means over scenes with
95 % bootstrap intervals. *Mean* is the plain average of the slices; *mean by masks* weighs them by the modified Harris
response: what FuseGAN with masks begins at, before it has learned anything. Weights that are not bundled are found
where FOCUSSTACK_MODELS says.

    python benchmarks/fusing_networks.py [--scenes 5] [--side 320] [--picture FILE]
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent / "accuracy"))
sys.path.insert(0, str(Path(__file__).parent))
import real_patches

from deblurring import TEST, interval
from napari_focusstack.core.fusion import METHODS, fuse_series
from napari_focusstack.core.fusion.end_to_end import EndToEndMethod
from napari_focusstack.core.progress import drain
from napari_focusstack.core.quality import METRICS, assess, psnr, ssim
from napari_focusstack.core.stack import from_array
from napari_focusstack.networks.fusegan import focus_masks
from scenes import photographed

CLASSICAL = ("pyramid", "dwt")
BLIND = ("brisque", "cnniqa")
SLICES = 5


def fusers() -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    """By name: the mean of the slices, two classical methods, and every installed network that makes the image."""

    def by(name: str) -> Callable[[np.ndarray], np.ndarray]:
        return lambda stack: drain(fuse_series(from_array(stack, axes="ZYXS"), method=name, device="cpu")).image

    networks = [m.name for m in METHODS if isinstance(m, EndToEndMethod)]
    plain = {"mean": lambda stack: np.rint(stack.mean(axis=0)).astype(stack.dtype), "mean by masks": by_masks}
    return plain | {f"`{name}`": by(name) for name in (*CLASSICAL, *networks)}


def by_masks(stack: np.ndarray) -> np.ndarray:
    """Slices (Z, Y, X, 3), all colours weighted by FuseGAN's masks of the luma."""
    slices = torch.from_numpy(stack.astype(np.float32) / max(1.0, float(stack.max())))
    masks = focus_masks((slices * torch.tensor([0.299, 0.587, 0.114])).sum(dim=-1)[None])[0]
    fused = (masks[..., None] * slices).sum(dim=0).numpy() * max(1.0, float(stack.max()))
    return np.rint(fused).astype(stack.dtype)


def trained(name: str) -> str:
    """How many pairs or groups of slices a network has seen, as its card tells."""
    plain = name.strip("`")
    method = METHODS[plain] if plain in METHODS.names() else None
    if not isinstance(method, EndToEndMethod):
        return ""
    told = method.card.training
    return f"{told['samples']:,} " + ("groups" if "slices" in told["data"] else "pairs")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--scenes", type=int, default=5, help="of each source")
    options.add_argument("--side", type=int, default=320, help="of a scene, in pixels")
    options.add_argument(
        "--picture", type=Path, help="PNG to write: two scenes, a column for each method, and the truth"
    )
    options.add_argument("--methods", nargs="+", help="only these; all where not given")
    given = options.parse_args()
    if not real_patches.DATA.is_dir():
        sys.exit(f"'{real_patches.DATA}' is not there: the sharp images are needed.")
    cv2.setNumThreads(1)
    blind = [name for name in BLIND if name in METRICS]
    methods = {k: v for k, v in fusers().items() if not given.methods or k.strip("`") in given.methods}
    names: list[str] = []
    rows: list[np.ndarray] = []
    results: dict[str, dict[str, list[float]]] = {name: {} for name in methods}
    for source in TEST:
        for seed in range(given.scenes):
            scene = photographed(real_patches.DATA / "sharp" / source, (given.side, given.side), seed)
            stack, truth = scene.stack(SLICES), scene.truth()
            scene.forget()
            names.append(scene.name)
            cells = []
            for name, fuse in methods.items():
                begin = time.process_time()
                image = fuse(stack)
                found = {"PSNR": psnr(image, truth), "SSIM": ssim(image, truth), "s": time.process_time() - begin}
                found |= {q.metric.name: q.value for q in drain(assess(image, metrics=blind))}
                for key, value in found.items():
                    results[name].setdefault(key, []).append(value)
                cells.append(image[:160, :160])
            if seed == 0:
                rows.append(np.hstack([*cells, truth[:160, :160]]))
            print(scene.name, file=sys.stderr, flush=True)
    if given.picture:
        cv2.imwrite(str(given.picture), np.vstack(rows)[..., ::-1])
    print(f"{len(names)} scenes of {SLICES} slices, {given.side}×{given.side}, RGB.\n")
    print("| method | trained on | PSNR dB [95 %] | SSIM [95 %] | " + "".join(f"{b} | " for b in blind) + "CPU s |")
    print("| --- " * (5 + len(blind)) + "|")
    for name, found in results.items():
        values = [interval(found[key], names) for key in ("PSNR", "SSIM")]
        told = [f"{v[0]:.{d}f} [{v[1]:.{d}f}, {v[2]:.{d}f}]" for v, d in zip(values, (2, 3), strict=True)]
        told += [f"{np.mean(found[b]):.1f}" for b in blind]
        print(f"| {name} | {trained(name)} | " + " | ".join(told) + f" | {np.mean(found['s']):.2f} |")


if __name__ == "__main__":
    main()
