"""What fusion costs: CPU time and peak memory of whole processes, beside an OpenCV pyramid script, as Markdown.

    python benchmarks/fusion_speed.py [--repeats 3] [--methods pyramid select dwt]

Each figure is that of ``focusstack fuse STACK -o OUT`` from the start of Python to the written file, on uncompressed
TIFFs of 1936 × 1216 pixels with 5 and 20 slices, RGB 8 bit and grey 16 bit. Beside it stand an OpenCV pyramid that
streams (peers/opencv_pyramid.py) and the same in the shorter way in which it is often written, all slices in memory
(peers/opencv_pyramid_all.py); ratios are to the latter and to the former. The least of the repeats counts, taken by
turns, as other work on the machine only ever adds time.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import tifffile

SHAPE = (1216, 1936)
PEERS = Path(__file__).parent / "peers"
STREAMING, WHOLE = "OpenCV, streaming", "OpenCV, in memory"
KINDS = ("rgb 8 bit", "grey 16 bit")


def write_stack(path: Path, n: int, kind: str) -> None:
    """Write a noisy texture that goes through focus."""
    rng = np.random.default_rng(0)
    samples = (3,) if kind.startswith("rgb") else ()
    sharp = cv2.GaussianBlur(rng.normal(128, 60, (*SHAPE, *samples)).astype(np.float32), (0, 0), 1.2)
    photometric, top, dtype = ("rgb", 255, np.uint8) if samples else ("minisblack", 65535, np.uint16)

    def slices():
        for i in range(n):
            plane = cv2.GaussianBlur(sharp, (0, 0), 0.3 + abs(i - n / 2) / 3) + rng.normal(0, 3, sharp.shape)
            yield np.clip(plane / 255 * top, 0, top).astype(dtype)

    axes = "ZYXS" if samples else "ZYX"
    tifffile.imwrite(
        path, slices(), shape=(n, *sharp.shape), dtype=dtype, photometric=photometric, ome=True, metadata={"axes": axes}
    )


def cost(command: Sequence[str]) -> tuple[float, float]:
    """CPU seconds and peak MiB of a process."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed with exit code {process.returncode}")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--methods", nargs="+", default=["pyramid", "select", "dwt"])
    parser.add_argument("--slices", type=int, nargs="+", default=(5, 20))
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--write", nargs=3, metavar=("FILE", "SLICES", "KIND"), help="only write a stack")
    arguments = parser.parse_args()
    if arguments.write:
        file, n, kind = arguments.write
        return write_stack(Path(file), int(n), kind)

    print("| stack | slices | program | CPU s | of in memory | of streaming | peak MiB |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        path, out = str(Path(folder) / "stack.ome.tif"), Path(folder) / "out.tif"
        programs = {
            WHOLE: [sys.executable, str(PEERS / "opencv_pyramid_all.py"), path, str(out)],
            STREAMING: [sys.executable, str(PEERS / "opencv_pyramid.py"), path, str(out)],
        }
        for method in arguments.methods:
            fuse = [sys.executable, "-m", "napari_focusstack.cli", "fuse"]
            programs[method] = [*fuse, path, "-o", str(out), "--method", method]
        for kind in arguments.kinds:
            for n in arguments.slices:
                # In a process of its own: a child's peak memory starts from its parent's.
                subprocess.run([sys.executable, __file__, "--write", path, str(n), kind], check=True)
                costs: dict[str, list[tuple[float, float]]] = {name: [] for name in programs}
                for _ in range(arguments.repeats):
                    for name, command in programs.items():
                        out.unlink(missing_ok=True)
                        costs[name].append(cost(command))
                least = {name: min(c for c, _ in each) for name, each in costs.items()}
                for name, seconds in least.items():
                    ratios = f"{seconds / least[WHOLE]:.2f} | {seconds / least[STREAMING]:.2f}"
                    memory = max(m for _, m in costs[name])
                    print(f"| {kind} | {n} | {name} | {seconds:.2f} | {ratios} | {memory:.0f} |", flush=True)
    return None


if __name__ == "__main__":
    main()
