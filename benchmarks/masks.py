"""How well masks tell pixels in focus from others, on scenes with truth from sources that no training has seen.

    python benchmarks/masks.py ../shared/data [--limit 20] [--methods msegnet energy] [--pictures FOLDER]

Two kinds of scenes are made of each sharp image of the held-out sources (`neubias`, `qupath_he`):

- *regions*, as m-SegNet's paper trains and tests: parts of a sharp plane are blurred by a Gaussian of σ 2, 4, 8, 16 or
  32 px; each image is a plane by itself;
- *stacks*, by the simulator: five slices through a hilly or layered, partly opaque specimen, in fluorescence or
  brightfield as the image suggests, at four objectives, with dirt on the camera.

Noise, uneven light and rounding come after the blur. In focus is what lies within half a depth of field, out of focus
what lies one and a half off or more; between the two there is no truth. Pixels without texture and those within 5 px
of a border between the two are left out of the accuracy; how much of the empty background and of the dirt is let in is
told by itself. Each figure is the mean over the source images, with the middle 95 % of resamples of these. Methods that
compare slices see the whole stack, as they would at work; of a plane by itself they know less.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent / "accuracy"))
from intervals import _resampled

from napari_focusstack.core.filters import to_grey
from napari_focusstack.core.masks import MASKS, focus_masks
from napari_focusstack.core.progress import drain
from napari_focusstack.core.stack import Stack, from_array
from napari_focusstack.io.read import read_stack
from napari_focusstack.training import camera
from napari_focusstack.training.library import CRISP_PX, edge_width, image_files, read_sharp
from napari_focusstack.training.scene import smooth_field
from napari_focusstack.training.settings import SimulationSettings
from napari_focusstack.training.simulate import simulate

SOURCES = ("neubias", "qupath_he")
SIDE = 320
SIGMAS = (2.0, 4.0, 8.0, 16.0, 32.0)
OBJECTIVES = ((0.3, 0.65), (0.45, 0.65), (0.5, 0.325), (0.75, 0.325))
BORDER_PX = 5
TEXTURE = 0.03
"""Local standard deviation over 9 px, of full scale, from which on there is something to judge by."""
FUZZY_DOF = 1.5
ORGANOIDS = ("organoid_A01", "organoid_A02")
SHOWN, PART = (0, 5, 6), (slice(20, 265), slice(211, 516))
"""Slices in pictures, and the part of them (rows, columns, at half size) that is also written by itself."""
FIGURES = ("accuracy", "balanced", "IoU", "empty let in", "dirt let in")


@dataclass(frozen=True)
class Scene:
    """A stack, or a plane by itself, and its truth: (Z, Y, X) each."""

    image: str
    kind: str
    stack: Stack
    clear: np.ndarray
    fuzzy: np.ndarray
    textured: np.ndarray
    empty: np.ndarray
    dirt: np.ndarray

    def only(self, z: int) -> Scene:
        """One plane of it."""
        part = slice(z, z + 1)
        truth = (getattr(self, name)[part] for name in ("clear", "fuzzy", "textured", "empty", "dirt"))
        return Scene(self.image, self.kind, self.stack, *truth)


def crops(folder: Path, limit: int | None) -> Iterator[tuple[str, np.ndarray]]:
    """Name and light (SIDE, SIDE) of a part of each image, three of a large field.

    By the rule of training: at the largest scale at which it is sharp, its own noise taken out; images that are sharp
    at no scale are left out.
    """
    for source in SOURCES:
        files = image_files(folder / "sharp" / source)[source]
        step = 1 if limit is None else max(1, len(files) // limit)
        for path in files[::step]:
            amount = read_sharp(path, source=source).levels[0].astype(np.float32)
            if edge_width(amount) > CRISP_PX or min(amount.shape) < SIDE // 2:
                continue
            bright = source == "qupath_he"
            light = np.clip(0.9 - 0.8 * amount if bright else 0.05 + 0.8 * amount, 0.02, 0.95)
            large = min(light.shape) > 3 * SIDE
            for k, part in enumerate(busiest(light, 3 if large else 1)):
                yield f"{source}/{path.stem}{f'#{k}' if large else ''}", np.ascontiguousarray(part)


def unit(grey: np.ndarray) -> np.ndarray:
    """Grey levels as 0 … 1."""
    low, high = np.percentile(grey, [0.5, 99.8])
    return np.clip((grey - low) / max(high - low, 1e-9), 0, 1).astype(np.float32)


def busiest(image: np.ndarray, n: int) -> list[np.ndarray]:
    """The `n` parts of the image, on a grid of half a side, with the most detail."""
    detail = np.abs(cv2.Laplacian(to_grey(image), cv2.CV_32F))
    h, w = detail.shape
    side = min(SIDE, h, w)
    places = [(y, x) for y in range(0, h - side + 1, SIDE // 2) for x in range(0, w - side + 1, SIDE // 2)]
    places.sort(key=lambda at: -float(detail[at[0] : at[0] + side, at[1] : at[1] + side].mean()))
    return [image[y : y + side, x : x + side] for y, x in places[::4][:n]]


def contrast(plane: np.ndarray, size: int = 9) -> np.ndarray:
    """Local standard deviation."""
    mean = cv2.blur(plane, (size, size))
    return np.sqrt(np.maximum(cv2.blur(plane * plane, (size, size)) - mean * mean, 0))


def region_scene(name: str, light: np.ndarray, rng: np.random.Generator) -> Scene:
    """Parts of a plane blurred as in the paper, each σ once: five planes that are judged one by one."""
    planes, clear = [], []
    for sigma in SIGMAS:
        field = smooth_field(rng, light.shape)
        inside = (field > np.quantile(field, rng.uniform(0.35, 0.65))).astype(np.float32)
        blurred = cv2.GaussianBlur(light, (0, 0), sigma, borderType=cv2.BORDER_REFLECT)
        soft = cv2.blur(inside, (3, 3))
        planes.append(photographed(light * (1 - soft) + blurred * soft, rng))
        clear.append(inside < 0.5)
    textured = np.broadcast_to(contrast(light) > TEXTURE, (len(SIGMAS), *light.shape))
    empty = np.broadcast_to(contrast(cv2.GaussianBlur(light, (0, 0), 1.5), 33) < 0.004, textured.shape)
    nothing = np.zeros(textured.shape, bool)
    c = np.stack(clear)
    return Scene(name, "regions", from_array(np.stack(planes), axes="ZYX", name=name), c, ~c, textured, empty, nothing)


def photographed(light: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Uneven light, noise of 2,000 to 20,000 electrons, 8 bit."""
    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
    lit = torch.from_numpy(light)[None]
    lit = lit * camera.uneven(1, shape=light.shape, strength=rng.uniform(0, 0.2), generator=generator)
    electrons = 10 ** rng.uniform(3.3, 4.3)
    taken = camera.expose(lit.clamp(0, 1), electrons=electrons, read_noise=3.0, generator=generator)
    return np.rint(taken[0].numpy() * 255).astype(np.uint8)


def stack_scene(name: str, light: np.ndarray, rng: np.random.Generator) -> Scene:
    """Five slices through a specimen with relief."""
    bright = float(np.median(light)) > 0.45
    na, pixel = OBJECTIVES[int(rng.integers(len(OBJECTIVES)))]
    dof = 0.55 / na**2 + pixel / na
    s = SimulationSettings(
        slices=5,
        z_um=1.5 * dof,
        blur="brightfield" if bright else "fluorescence",
        na=na,
        pixel_um=pixel,
        relief="layers" if rng.random() < 0.5 else "smooth",
        relief_um=6 * dof,
        occlusion=bool(bright and rng.random() < 0.5),
        electrons=10 ** rng.uniform(3.3, 4.3),
        bits=8 if rng.random() < 0.6 else 16,
        shading=float(rng.uniform(0, 0.15)),
        dirt=int(rng.integers(0, 4)),
        seed=int(rng.integers(2**31)),
    )
    made = simulate(light, s)
    sharp = to_grey(made.all_in_focus)
    half = made.microscope.depth_of_field_um / 2
    off = np.abs(made.defocus_um)
    shape = off.shape
    dirt = np.broadcast_to(made.dirt, shape)
    textured = np.broadcast_to(contrast(sharp) > TEXTURE, shape) & ~dirt
    empty = np.broadcast_to(contrast(cv2.GaussianBlur(sharp, (0, 0), 1.5), 33) < 0.004, shape) & ~dirt
    return Scene(name, "stacks", made.stack, off <= half, off >= 2 * FUZZY_DOF * half, textured, empty, dirt)


def single_planes(scene: Scene) -> list[Stack]:
    """What a method is given: the whole stack, or each plane by itself."""
    if scene.kind == "stacks":
        return [scene.stack]
    return [from_array(scene.stack.plane(z)[None], axes="ZYX") for z in range(scene.stack.n_slices)]


def judged(scene: Scene, found: np.ndarray) -> dict[str, float]:
    """Figures of one scene."""
    square = np.ones((2 * BORDER_PX + 1,) * 2, np.uint8)
    near = np.stack(
        [
            cv2.dilate(c.astype(np.uint8), square) & cv2.dilate(f.astype(np.uint8), square)
            for c, f in zip(scene.clear, scene.fuzzy, strict=True)
        ]
    ).astype(bool)
    known = scene.textured & ~near & ~scene.empty
    clear, fuzzy = scene.clear & known, scene.fuzzy & known
    right, rejected = float(found[clear].sum()), float((~found[fuzzy]).sum())
    n_clear, n_fuzzy = max(int(clear.sum()), 1), max(int(fuzzy.sum()), 1)
    dirty = scene.dirt & scene.fuzzy
    return {
        "accuracy": (right + rejected) / (n_clear + n_fuzzy),
        "balanced": (right / n_clear + rejected / n_fuzzy) / 2 if clear.any() and fuzzy.any() else np.nan,
        "IoU": right / max(n_clear + n_fuzzy - rejected, 1) if clear.any() else np.nan,
        "empty let in": float(found[scene.empty].mean()) if scene.empty.any() else np.nan,
        "dirt let in": float(found[dirty].mean()) if dirty.any() else np.nan,
    }


def table(data: Path, methods: list[str], limit: int | None) -> None:
    """Print the figures of each method."""
    results: dict[tuple[str, str], list[tuple[str, dict[str, float]]]] = {}
    n = 0
    for name, light in crops(data, limit):
        rng = np.random.default_rng(n)
        n += 1
        for scene in (region_scene(name, light, rng), stack_scene(name, light, rng)):
            for method in methods:
                masks = [drain(focus_masks(s, MASKS[method], device="cpu")).mask() for s in single_planes(scene)]
                found, group = np.concatenate(masks) > 0, name.split("#")[0]
                results.setdefault((scene.kind, method), []).append((group, judged(scene, found)))
                if scene.kind == "regions":
                    for sigma, z in zip(SIGMAS, range(len(SIGMAS)), strict=True):
                        figures = judged(scene.only(z), found[z : z + 1])
                        results.setdefault((f"regions, σ {sigma:g}", method), []).append((group, figures))
        print(f"{n} {name}", file=sys.stderr, flush=True)
    print(
        f"| scenes ({n} crops of {len({g for g, _ in next(iter(results.values()))})} images) | method | "
        + " | ".join(FIGURES)
        + " |"
    )
    print("| --- " * (len(FIGURES) + 2) + "|")
    for (kind, method), rows in results.items():
        cells = []
        for figure in FIGURES:
            values = np.array([r[figure] for _, r in rows])
            kept = np.isfinite(values)
            groups = np.array([g for g, _ in rows])[kept]
            cells.append(_resampled(lambda chosen, v=values[kept]: float(np.mean(v[chosen])), groups).percent())
        print(f"| {kind} | {method} | " + " | ".join(cells) + " |")


def real(data: Path, methods: list[str]) -> None:
    """Print how much of labelled spots of real organoids (development stacks) the masks cover."""
    with (data / "spots.csv").open(encoding="utf-8") as file:
        spots = [row for row in csv.DictReader(file) if row["stack"].startswith("organoid")]
    shares: dict[tuple[str, str], list[float]] = {}
    for name in ORGANOIDS:
        stack = read_stack(data / "stacks" / f"{name}.ome.tif")
        for method in methods:
            masks = drain(focus_masks(stack, MASKS[method], device="cpu")).mask()
            for s in (s for s in spots if s["stack"] == name):
                disc = np.zeros(masks.shape[1:], np.uint8)
                cv2.circle(disc, (int(float(s["x"])), int(float(s["y"]))), max(3, int(0.8 * float(s["radius"]))), 1, -1)
                covered = masks[:, disc > 0].mean(axis=1)
                z = np.arange(len(masks))
                if s["kind"] == "object":
                    lo, hi = int(s["lo"]), int(s["hi"])
                    shares.setdefault((method, "object in focus"), []).extend(covered[lo : hi + 1])
                    shares.setdefault((method, "object far off"), []).extend(covered[(z < lo - 2) | (z > hi + 2)])
                else:
                    shares.setdefault((method, s["kind"]), []).extend(covered)
    kinds = ("object in focus", "object far off", "background", "dirt")
    print("| share of the pixels that is masked | " + " | ".join(kinds) + " |\n" + "| --- " * 5 + "|")
    for method in methods:
        print(f"| {method} | " + " | ".join(f"{100 * np.mean(shares[method, k]):.1f} %" for k in kinds) + " |")


def pictures(data: Path, methods: list[str], folder: Path) -> None:
    """Masks over slices of real organoids, a row for each method: whole fields and a part of them."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ORGANOIDS:
        stack = read_stack(data / "stacks" / f"{name}.ome.tif")
        rows = []
        for method in methods:
            masks = drain(focus_masks(stack, MASKS[method], device="cpu")).mask()
            rows.append([overlay(stack.plane(z), masks[z]) for z in SHOWN])
        parts = [[tile[PART] for tile in row] for row in rows]
        for file, tiles in ((f"{name}.png", rows), (f"{name}_part.png", parts)):
            cv2.imwrite(str(folder / file), np.vstack([np.hstack(row) for row in tiles]))


def overlay(plane: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Half size, what is in focus tinted green and outlined."""
    grey = (255 * unit(to_grey(plane))).astype(np.uint8)
    picture = cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR)
    picture[mask > 0] = (0.65 * picture[mask > 0] + np.array([0, 90, 0])).astype(np.uint8)
    return cv2.resize(picture, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with sharp/ and stacks/")
    parser.add_argument("--methods", nargs="+", default=list(MASKS.names()))
    parser.add_argument("--limit", type=int, help="about so many images of each source")
    parser.add_argument("--pictures", type=Path, help="write masks of real organoids there, instead of the table")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    if arguments.pictures:
        pictures(arguments.data, arguments.methods, arguments.pictures)
    else:
        real(arguments.data, arguments.methods)
        print()
        table(arguments.data, arguments.methods, arguments.limit)


if __name__ == "__main__":
    main()
