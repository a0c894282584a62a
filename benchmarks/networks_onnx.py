"""torch against onnxruntime on the processor, one core: untrained networks, whose speed is that of trained ones.

python benchmarks/networks_onnx.py
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from napari_focusstack.networks import deblur, infer, ldsenet, mmdf
from napari_focusstack.networks.onnx import through_onnx

CPU = torch.device("cpu")
REPEATS = 5


def fastest(run: Callable[[], Any]) -> float:
    run()
    times = []
    for _ in range(REPEATS):
        begin = time.process_time()
        run()
        times.append(time.process_time() - begin)
    return min(times)


def restored(network: Any, plane: Any) -> Any:
    tiles = infer.in_tiles(network, torch.from_numpy(plane)[None, None], margin_px=48, bytes_per_px=400, multiple_px=16)
    while True:
        try:
            next(tiles)
        except StopIteration as end:
            return end.value


def main() -> None:
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    small, square, large = (rng.random(s, np.float32) for s in ((512, 512), (1024, 1024), (1944, 2592)))

    def distances(network: Any, plane: Any) -> Any:
        return ldsenet.measure_plane(network, plane, sampling=0.4)

    cases: list[tuple[str, Any, Callable[[Any, Any], Any], Any]] = [
        ("mmdf", mmdf.FocusClassifier(width=0.25), mmdf.classify_plane, square),
        ("ldsenet", ldsenet.ldsenet(), distances, large),
        ("resnet50", ldsenet.resnet50(width=0.25), distances, square),
        ("deblur_unet", deblur.UNet(width=0.25), restored, small),
    ]
    print("| | torch (s) | onnxruntime (s) | gain |\n| --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        for name, network, run, plane in cases:
            by_torch = infer.prepare(network, device=CPU)
            by_onnx = through_onnx(infer.prepare(network, device=CPU), architecture=name, cache=Path(folder) / name)
            a, b = (fastest(lambda n=n, run=run, plane=plane: run(n, plane)) for n in (by_torch, by_onnx))
            print(f"| {name}, {plane.shape[1]}×{plane.shape[0]} | {a:.3f} | {b:.3f} | {a / b:.2f} |", flush=True)


if __name__ == "__main__":
    main()
