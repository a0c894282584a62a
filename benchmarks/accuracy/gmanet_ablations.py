"""GMANet's ablations: with and without attention, in one stage or two, by other maps, without auxiliary outputs.

Run it from the repository's root, with the development data beside it and the extra ``bench`` installed::

    python benchmarks/accuracy/gmanet_ablations.py -o ablations [--seeds 3] [--each 8] [--table]

All networks have a sixteenth of the paper's width and learn from the same simulated stacks on the same schedule: a
first stage, and a second one that starts from its weights; the epoch is chosen as in the recipe. Of each, t0, acc and ρ
on stacks of sources and optics that no training has seen, one score for the whole field. A run that was stopped goes
on; a finished one's figures lie in ``result.json`` beside its checkpoint, of which ``--table`` makes the table.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2
import held_stacks
import numpy as np
import real_patches
import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_focusstack.core.agreement import Agreement, agreement, summary
from napari_focusstack.core.progress import drain
from napari_focusstack.networks import iqa
from napari_focusstack.networks.gmanet import (
    GMANet,
    Outputs,
    limited,
    local_maximum_gradient,
    mean_of_scored,
    z_scored,
)
from napari_focusstack.networks.infer import prepare
from napari_focusstack.training.fit import EpochRecord, FitSettings, Task, fit
from napari_focusstack.training.library import Sharp, load, split
from napari_focusstack.training.losses import stack_scores
from napari_focusstack.training.recipes.gmanet import WEIGHTS, hits, least
from napari_focusstack.training.series import SeriesBatch, SeriesData, SeriesSettings

TRAINING, TEST = ("dsb2018", "bccd", "cellprofiler"), ("neubias", "qupath_he")
WIDTH = 0.0625
DATA = SeriesData(SeriesSettings(field_px=160, crop_px=64))
FIRST = FitSettings(epochs=6, steps=80, batch=14, valid_steps=10, patience=6, learning_rate=2e-3)
SECOND = FitSettings(epochs=4, steps=80, batch=14, valid_steps=10, patience=4, learning_rate=1e-3)
BLOCK_PX = 32
TEST_SEED = 12


def tenengrad(grey: Tensor, *, block_px: int) -> Tensor:
    """Magnitude of the gradient at every pixel; it has no block."""
    return iqa.gradient(grey)


def contrast(grey: Tensor, *, block_px: int) -> Tensor:
    """Standard deviation within the block around every pixel."""
    mean, square = _block_mean(grey, block_px + 1), _block_mean(grey**2, block_px + 1)
    return (square - mean**2).clamp(min=0).sqrt()


def _block_mean(values: Tensor, side: int) -> Tensor:
    """Mean over a square around every pixel, of what lies within the image: by running sums."""
    for dim in (-1, -2):
        n = values.shape[dim]
        ends = torch.arange(n)
        first, last = (ends - side // 2).clamp(min=0), (ends + side // 2 + 1).clamp(max=n)
        sums = functional.pad(values.cumsum(dim), (1, 0) if dim == -1 else (0, 0, 1, 0))
        count = (last - first).reshape((n,) if dim == -1 else (n, 1))
        values = (sums.index_select(dim, last) - sums.index_select(dim, first)) / count
    return values


MAPS: Mapping[str, Callable[..., Tensor]] = {
    "lmg": local_maximum_gradient,
    "tenengrad": tenengrad,
    "contrast": contrast,
}


@dataclass(frozen=True)
class Variant:
    """One row of the table.

    Attributes
    ----------
    name, title : str
        Its folder, and what it is.
    attended : int
        Layers with attention.
    attention : str
        One of `MAPS`.
    outputs : int
        3 with the auxiliary ones, 1 without.
    start : str or None
        The variant whose weights it starts from, in the second stage; None: from scratch, in the first.
    """

    name: str
    title: str
    attended: int = 1
    attention: str = "lmg"
    outputs: int = 3
    start: str | None = None

    def seen(self, image: Tensor, *, block_px: int) -> tuple[Tensor, Tensor | None]:
        """What the network sees of (N, 1, Y, X) whole images: as `GMANet.ready`, with this variant's map."""
        grey = z_scored(image)
        if not self.attended:
            return limited(grey), None
        return limited(grey), limited(MAPS[self.attention](grey, block_px=block_px))


VARIANTS = (
    Variant("L0", "L0: no attention, first stage", attended=0),
    Variant("L1", "L1: from L0, attention in Layer1", start="L0"),
    Variant("L0_longer", "L0 through a second stage, still no attention", attended=0, start="L0"),
    Variant("L1_scratch_first", "L1*: attention from scratch, first stage"),
    Variant("L1_scratch", "L1*, second stage", start="L1_scratch_first"),
    Variant("L2", "L2: from L1, attention in Layer1 and Layer2, a third stage", attended=2, start="L1"),
    Variant("L1_tenengrad", "L1 with Tenengrad for attention", attention="tenengrad", start="L0"),
    Variant("L1_contrast", "L1 with local standard deviation for attention", attention="contrast", start="L0"),
    Variant("L0_single", "L0 without auxiliary outputs", attended=0, outputs=1),
    Variant("L1_single", "L1 without auxiliary outputs", outputs=1, start="L0_single"),
)
"""Each after the one that it starts from."""


def task(variant: Variant, training: Sequence[Sharp], validation: Sequence[Sharp]) -> Task:
    """The recipe's task with the variant's map and outputs."""

    def outputs(network: nn.Module, batch: SeriesBatch) -> Outputs:
        assert isinstance(network, GMANet)
        pixels, attention = variant.seen(batch.image, block_px=batch.block_px)
        return network.outputs(batch.crops(pixels), None if attention is None else batch.crops(attention))

    def loss(network: nn.Module, batch: SeriesBatch, _: torch.device) -> Tensor:
        if variant.start is not None:
            for module in network.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()  # the second stage keeps the first one's statistics
        found = outputs(network, batch)
        total = torch.zeros(())
        for weight, score in list(zip(WEIGHTS, (found.score, *found.auxiliary), strict=True))[: variant.outputs]:
            scores, differences, wrong = stack_scores(score.reshape(batch.score.shape), batch.score)
            total = total + weight * (scores + wrong * differences).mean()
        return total

    def metrics(network: nn.Module, batches: list[SeriesBatch], _: torch.device) -> Mapping[str, float]:
        return hits([outputs(network, b).score.reshape(b.score.shape) for b in batches], batches)

    return Task(
        lambda seed: DATA.batches(training, batch=FIRST.batch, seed=seed),
        lambda seed: DATA.batches(validation, batch=FIRST.batch, seed=seed),
        loss,
        metrics,
        least("l_diff" if variant.start is None else "l_score"),
    )


@cache
def sharp(sources: tuple[str, ...]) -> tuple[Sharp, ...]:
    """Images of some sources, read once."""
    return tuple(drain(load(real_patches.DATA / "sharp", sources=sources)))


@cache
def test_stacks(each: int) -> tuple[held_stacks.Case, ...]:
    """Stacks of every type; others than those of clearest.py."""
    return tuple(held_stacks.cases(sharp(TEST), each=each, seed=TEST_SEED))


def run(variant: Variant, folder: Path, *, seed: int, each: int) -> None:
    """Train and try one variant; nothing where it was done."""
    here = folder / variant.name
    if (here / "result.json").exists():
        return
    torch.manual_seed(seed)
    network = GMANet(width=WIDTH, attended=variant.attended, channels=1)
    if variant.start is not None:
        network.load_state_dict(torch.load(folder / variant.start / "checkpoint.pt", weights_only=True)["best"])
    training, validation = split(sharp(TRAINING))
    settings = (FIRST if variant.start is None else SECOND).model_copy(update={"seed": seed})
    begun = time.process_time()
    job = fit(network, task(variant, training, validation), settings, folder=here, device=torch.device("cpu"))
    fitted = drain(job)
    seconds = time.process_time() - begun
    best = fitted.history[fitted.best_epoch - 1]
    result = {
        "variant": asdict(variant),
        "seed": seed,
        "cpu_seconds": round(seconds),
        "best_epoch": best.epoch,
        "validation": _told(best),
        "test": tried(network, variant, test_stacks(each)),
    }
    (here / "result.json").write_text(json.dumps(result, indent=1), encoding="utf-8")
    test = result["test"]["all"]
    print(f"seed {seed} {variant.name}: {test}, {seconds:.0f} s", file=sys.stderr, flush=True)


def _told(record: EpochRecord) -> dict[str, float]:
    return {"loss": record.valid_loss, **record.metrics}


def tried(network: GMANet, variant: Variant, cases: Sequence[held_stacks.Case]) -> dict[str, dict[str, float]]:
    """t0 and acc in percent, and ρ, of all stacks and of each type."""
    results: dict[str, list[Agreement]] = {"all": []}
    ready = prepare(network, device=torch.device("cpu"))
    assert isinstance(ready, GMANet)
    with torch.inference_mode():
        for case in cases:
            planes = torch.from_numpy(np.asarray(case.stack.data, np.float32))[:, None]
            pixels, attention = variant.seen(planes, block_px=BLOCK_PX)
            raw = ready.heads[0](ready.features(pixels, attention))
            values = torch.relu(mean_of_scored(raw)).numpy()
            one = agreement(values, case.truth, found=int(values.argmax()))
            results["all"].append(one)
            results.setdefault(case.kind, []).append(one)
    return {kind: _figures(found) for kind, found in results.items()}


def _figures(found: list[Agreement]) -> dict[str, float]:
    s = summary(found)
    return {"stacks": s.stacks, "t0": 100 * s.t0 / s.stacks, "acc": 100 * s.acc, "rho": s.rho}


def table(folder: Path) -> str:
    """Markdown of the runs that are done: mean over the seeds, smallest to largest in brackets."""
    kinds = held_stacks.TYPES
    lines = [f"| | seeds | t0 % | acc % | ρ | acc %: {', '.join(kinds)} |", "| --- |" + " --- |" * 5]
    for variant in VARIANTS:
        found = [json.loads(p.read_text()) for p in sorted(folder.glob(f"seed*/{variant.name}/result.json"))]
        if found:
            t0, acc, rho = (_spread([f["test"]["all"][k] for f in found], k) for k in ("t0", "acc", "rho"))
            by_kind = ", ".join(f"{np.mean([f['test'][k]['acc'] for f in found]):.0f}" for k in kinds)
            lines.append(f"| {variant.title} | {len(found)} | {t0} | {acc} | {rho} | {by_kind} |")
    return "\n".join(lines)


def _spread(values: list[Any], name: str) -> str:
    digits = 3 if name == "rho" else 1
    return f"{np.mean(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("-o", "--output", type=Path, default=Path("ablations"))
    options.add_argument("--seeds", type=int, default=3)
    options.add_argument("--each", type=int, default=8, help="simulated test stacks of each type")
    options.add_argument("--table", action="store_true", help="of what is there, without training")
    given = options.parse_args()
    if not given.table:
        if not real_patches.DATA.is_dir():
            sys.exit(f"'{real_patches.DATA}' is not there: the sharp images are needed.")
        cv2.setNumThreads(1)
        for seed in range(given.seeds):
            for variant in VARIANTS:
                run(variant, given.output / f"seed{seed}", seed=seed, each=given.each)
    print(table(given.output))


if __name__ == "__main__":
    main()
