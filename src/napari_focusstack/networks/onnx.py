"""Networks through onnxruntime: their costly parts run there, all else stays as it is. Processor only."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from napari_focusstack.networks.export import write_onnx
from napari_focusstack.networks.zoo import ModelError

WHOLE = ""
PARTS: Mapping[str, tuple[str, ...]] = {
    "mmdf": ("features",),
    "ldsenet": ("stem", "body"),
    "resnet50": ("stem", "body"),
    "deblur": (WHOLE,),
}
"""Sub-modules that take one image and give one, by how the name of the architecture begins."""


class OnnxPart(nn.Module):
    """Stands in for a module that takes a tensor (N, C, Y, X) and gives one.

    Parameters
    ----------
    original : nn.Module
        What it stands in for; its attributes stay within reach.
    file : Path
        The same as ONNX.
    """

    def __init__(self, original: nn.Module, file: Path) -> None:
        import onnxruntime

        super().__init__()
        self.original = original
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        self._session: Any = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("original"), name)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, Y, X) → whatever the original gives."""
        (found,) = self._session.run(None, {"x": x.contiguous().numpy()})
        return torch.from_numpy(found)


def through_onnx(network: nn.Module, *, architecture: str, cache: Path) -> nn.Module:
    """Let onnxruntime compute a network's costly parts.

    Parameters
    ----------
    network : nn.Module
        Ready for inference on the CPU (see `infer.prepare`); changed in place where only parts are replaced.
    architecture : str
        Its name in the zoo.
    cache : Path
        Folder for the parts as ONNX, which take seconds to write; those that lie there are used. Each set of weights
        needs a folder of its own.

    Raises
    ------
    ModelError
        If onnxruntime is not installed, or the architecture has no part for it.
    """
    if find_spec("onnxruntime") is None:
        raise ModelError(
            "onnxruntime is not installed: pip install 'napari-focusstack[onnx]', or choose another device."
        )
    names = next((parts for prefix, parts in PARTS.items() if architecture.startswith(prefix)), None)
    if names is None:
        raise ModelError(f"A '{architecture}' does not run through onnxruntime: choose another device.")
    network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    for name in names:
        part = network.get_submodule(name)
        file = cache / f"{name or 'network'}.onnx"
        if not file.is_file():
            _write_part(part, file, step=int(getattr(part, "multiple_px", 1)))
        if name == WHOLE:
            return OnnxPart(part, file)
        setattr(network, name, OnnxPart(part, file))
    return network


def _write_part(part: nn.Module, file: Path, *, step: int) -> None:
    """Write a part for batches and images of any size (in steps); other processes see it whole or not at all."""
    channels = next(m.in_channels for m in part.modules() if isinstance(m, nn.Conv2d))
    sides = {i: step * torch.export.Dim(f"{a}_steps", min=2) for i, a in ((2, "y"), (3, "x"))}
    file.parent.mkdir(parents=True, exist_ok=True)
    beside = file.with_name(f"{uuid.uuid4().hex}.onnx")
    example = torch.rand(1, channels, 96, 112)
    try:
        write_onnx(part, [example], beside, shapes=[{0: torch.export.Dim("batch", min=1), **sides}], names=("x", "y"))
        beside.replace(file)
    finally:
        beside.unlink(missing_ok=True)
