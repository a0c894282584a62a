"""Where networks run, by name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from napari_focusstack.core.errors import InputError

if TYPE_CHECKING:
    import torch

    from napari_focusstack.networks.zoo import ModelCard

DeviceChoice = Literal["auto", "cpu", "cuda", "mps", "onnx"]
"""``auto`` takes CUDA, then Apple's MPS, then the CPU; ``onnx`` is onnxruntime on the CPU."""


def choose_device(name: str = "auto") -> torch.device:
    """torch's device of that name.

    Raises
    ------
    InputError
        If it is not there.
    """
    import torch

    from napari_focusstack.networks.infer import best_device

    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return best_device()
    if not there.get(name, False):
        known = ", ".join(device for device, found in there.items() if found)
        raise InputError(f"There is no device '{name}' here: choose one of auto, {known}.")
    return torch.device(name)


def placed(network: Any, card: ModelCard, device: str) -> Any:
    """A network ready for inference where it is wanted.

    Raises
    ------
    InputError
        If it can't run there.
    """
    from napari_focusstack.networks.infer import prepare
    from napari_focusstack.networks.zoo import ModelError

    if device != "onnx":
        return prepare(network, device=choose_device(device))
    from napari_focusstack.networks.onnx import through_onnx

    ready = prepare(network, device=choose_device("cpu"))
    try:
        return through_onnx(ready, architecture=card.architecture, cache=_cache(card.sha256))
    except ModelError as error:
        raise InputError(str(error)) from error


def _cache(sha256: str) -> Path:
    from platformdirs import user_cache_path

    import napari_focusstack

    return user_cache_path("napari-focusstack") / f"onnx-{napari_focusstack.__version__}-{sha256[:16]}"
