"""Models for other programs: one ONNX graph that takes raw grey values and gives what the card promises."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn

from napari_focusstack.networks.fusegan import FuseGenerator, focus_masks
from napari_focusstack.networks.gmanet import GMANet
from napari_focusstack.networks.hhnet import DISTANCES, FEATURES, HHNet
from napari_focusstack.networks.hhnet import PATCH_PX as HH_PATCH_PX
from napari_focusstack.networks.infer import prepare
from napari_focusstack.networks.ldsenet import LEAST_PX, SAMPLING, signed_waves
from napari_focusstack.networks.mmdf import MARGIN_PX, PATCH_PX, FocusClassifier
from napari_focusstack.networks.msegnet import FocusSegmenter
from napari_focusstack.networks.zoo import ModelCard, ModelError

OPSET = 18
QUANTILES = (0.001, 0.999)
"""Between which the networks that restore images are scaled to 0 … 1."""
NEEDED = ("onnx", "onnxscript")


@dataclass(frozen=True)
class Graph:
    """A model as other programs see it.

    Attributes
    ----------
    module : nn.Module
        Preprocessing, network and decoding of its output.
    inputs : mapping of str to tensor
        An example of each input; the first is the image, (1, C, Y, X).
    output : str
        Name of the output.
    channels : tuple of str
        What the numbers of an output are that is no image; empty for an image like the input.
    step_px : int or None
        The image's sides are any multiples of this, or fixed where None.
    shown : tuple of str
        What the channels of the image are.
    known : mapping of str to str
        What each input but the image is.
    """

    module: nn.Module
    inputs: Mapping[str, Tensor]
    output: str
    channels: tuple[str, ...]
    step_px: int | None = None
    shown: tuple[str, ...] = ("grey",)
    known: Mapping[str, str] = field(default_factory=dict)

    @property
    def slices(self) -> bool:
        """Whether the channels of the image are slices of a stack."""
        return self.shown[0].startswith("slice")


class _Classes(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        return torch.softmax(self.network(_over_range(image)), dim=1)


class _Defocus(nn.Module):
    """Takes images on the network's grid; `sampling` is that of the camera."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor, sampling: Tensor) -> Tensor:
        return torch.stack(signed_waves(self.network(_over_range(image), sampling[:, 0])), dim=1)


class _Score(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        score: Tensor = self.network(_over_range(image))
        return score[:, None]


class _Distances(nn.Module):
    """Takes handcrafted features of the whole image beside a patch of it, and its objective if the network does."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor, features: Tensor, objective: Tensor | None = None) -> Tensor:
        return torch.softmax(self.network(_over_range(image), features, objective), dim=1)


class _Decision(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        decision: Tensor = self.network.decide(_over_range(image))  # type: ignore[operator]
        return decision


class _Mask(nn.Module):
    def __init__(self, network: FocusSegmenter) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        clear, fuzzy = self.network.levels(_over_range(image))[-1].chunk(2, dim=1)
        return torch.sigmoid(clear - fuzzy)


class _Fused(nn.Module):
    """Scaled by the range of all slices, and back again."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.masked = isinstance(network, FuseGenerator) and network.masks != "none"

    def forward(self, image: Tensor) -> Tensor:
        low, high = (f(image, dim=(1, 2, 3), keepdim=True) for f in (torch.amin, torch.amax))
        span = (high - low).clamp(min=1e-12)
        scaled = (image - low) / span
        fused: Tensor = self.network(scaled, focus_masks(scaled)) if self.masked else self.network(scaled)
        return fused * span + low


class _Restored(nn.Module):
    """Scaled by quantiles of the whole image, and back again."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        grey = torch.sort(image.flatten(1), dim=1).values
        last = torch.ones_like(grey[:1]).sum() - 1
        low, high = (_at(grey, last * q)[:, :, None, None] for q in QUANTILES)
        scale = (high - low).clamp(min=1e-12)
        restored: Tensor = self.network((image - low) / scale) * scale + low
        return restored


def _over_range(image: Tensor) -> Tensor:
    """Scaled to 0 … 1 over each image's own range."""
    low, high = (f(image, dim=(1, 2, 3), keepdim=True) for f in (torch.amin, torch.amax))
    return (image - low) / (high - low).clamp(min=1e-12)


def _at(ordered: Tensor, place: Tensor) -> Tensor:
    """Values of sorted rows at a place between two elements, (N, 1)."""
    below = place.floor()
    pair = torch.stack([below, place.ceil()]).long()
    found = ordered.index_select(1, pair)
    return found[:, :1] + (found[:, 1:] - found[:, :1]) * (place - below)


def _classes(network: nn.Module) -> Graph:
    assert isinstance(network, FocusClassifier)
    side = PATCH_PX + 2 * MARGIN_PX
    names = tuple(f"class_{k}" for k in range(network.head[-1].out_channels))  # type: ignore[arg-type]
    return Graph(_Classes(network), {"image": torch.rand(1, 1, side, side)}, "probabilities", names)


def _defocus(network: nn.Module) -> Graph:
    inputs = {"image": torch.rand(1, 1, LEAST_PX, LEAST_PX), "sampling": torch.full((1, 1), SAMPLING)}
    known = {"sampling": "Pixel size · numerical aperture / wavelength."}
    return Graph(_Defocus(network), inputs, "defocus", ("waves", "certainty_of_side"), known=known)


def _score(network: nn.Module) -> Graph:
    assert isinstance(network, GMANet)
    example = torch.rand(1, network.channels, 512, 768)
    shown = ("grey",) if network.channels == 1 else ("red", "green", "blue")
    return Graph(_Score(network), {"image": example}, "score", ("score",), shown=shown)


def _distances(network: nn.Module) -> Graph:
    assert isinstance(network, HHNet)
    inputs = {"image": torch.rand(1, 1, HH_PATCH_PX, HH_PATCH_PX), "features": torch.rand(1, FEATURES)}
    known = {"features": "Of the whole image; napari_focusstack.core.handcrafted computes them."}
    if network.objective:
        inputs["objective"] = torch.tensor([[0.5, 0.75]])
        known["objective"] = "Pixel size · numerical aperture / wavelength, and aperture / index; 0 where not known."
    names = tuple(f"distance_{d}" for d in DISTANCES)
    return Graph(_Distances(network), inputs, "probabilities", names, known=known)


def _image(n: int, step: int) -> dict[str, Tensor]:
    return {"image": torch.rand(1, n, 8 * step, 12 * step)}


def _slices(n: int) -> tuple[str, ...]:
    return tuple(f"slice_{k}" for k in range(n))


def _decision(network: nn.Module) -> Graph:
    step = max(16, int(network.multiple_px))  # type: ignore[arg-type]
    return Graph(_Decision(network), _image(2, step), "decision", (), step, _slices(2))


def _mask(network: nn.Module) -> Graph:
    assert isinstance(network, FocusSegmenter)
    step = max(16, network.multiple)
    return Graph(_Mask(network), _image(1, step), "mask", (), step)


def _fused(network: nn.Module) -> Graph:
    n = network.slots if isinstance(network, FuseGenerator) else 2
    step = max(16, int(network.multiple_px))  # type: ignore[arg-type]
    return Graph(_Fused(network), _image(n, step), "fused", (), step, _slices(n))


def _restored(network: nn.Module) -> Graph:
    step = max(16, int(network.multiple_px))  # type: ignore[arg-type]
    return Graph(_Restored(network), _image(1, step), "restored", (), step)


GRAPHS: tuple[tuple[tuple[str, ...], Callable[[nn.Module], Graph]], ...] = (
    (("mmdf",), _classes),
    (("ldsenet", "resnet50", "botnet"), _defocus),
    (("gmanet",), _score),
    (("hhnet",), _distances),
    (("deblur",), _restored),
    (("fusion_cnn", "decision_unet"), _decision),
    (("ifcnn", "fusegan"), _fused),
    (("msegnet", "segnet", "unet_mask"), _mask),
)
"""By how the name of the architecture begins."""


def graph_of(network: nn.Module, card: ModelCard) -> Graph:
    """A model as other programs see it.

    Raises
    ------
    ModelError
        If it is of a kind that makes sense within this package only.
    """
    for names, make in GRAPHS:
        if card.architecture.startswith(names):
            return make(prepare(network, device=torch.device("cpu")).to(memory_format=torch.contiguous_format))  # type: ignore[call-overload]
    known = ", ".join(name for names, _ in GRAPHS for name in names)
    raise ModelError(f"A '{card.architecture}' can't be exported: choose a model of one of the kinds {known}.")


def write_graph(graph: Graph, path: Path) -> None:
    """Write a model as ONNX; its batch may have any size, its image any that `Graph.step_px` allows.

    Raises
    ------
    ModelError
        If the packages that this takes are not installed.
    """
    batch = torch.export.Dim("batch", min=1)
    shapes = []
    for example in graph.inputs.values():
        shape = {0: batch}
        if example.ndim == 4 and graph.step_px is not None:
            shape |= {
                i: graph.step_px * torch.export.Dim(f"{a}_steps", min=2, max=2048) for i, a in ((2, "y"), (3, "x"))
            }
        shapes.append(shape)
    write_onnx(graph.module, list(graph.inputs.values()), path, shapes=shapes, names=(*graph.inputs, graph.output))


def write_onnx(
    module: nn.Module,
    examples: Sequence[Tensor],
    path: Path,
    *,
    shapes: Sequence[Mapping[int, object]],
    names: Sequence[str],
) -> None:
    """Write a module as ONNX.

    Parameters
    ----------
    module : nn.Module
        In evaluation mode, on the CPU.
    examples : sequence of tensors
        What it takes.
    path : Path
        File to write.
    shapes : sequence of mappings
        For each example the axes of free length.
    names : sequence of str
        Of the inputs, then of the output.

    Raises
    ------
    ModelError
        If the packages that this takes are not installed.
    """
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise ModelError(
            f"Writing ONNX takes {' and '.join(missing)}, not installed here: pip install 'napari-focusstack[onnx]'."
        )
    examples = [e.repeat(2, *[1] * (e.ndim - 1)) for e in examples]  # a batch of one would become a constant
    # It tells of packages that it could handle as well, were they there.
    logging.getLogger("torch.onnx._internal.exporter._registration").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own, about torch's own
        torch.onnx.export(
            module.eval(),
            tuple(examples),
            path,
            dynamo=True,
            external_data=False,
            opset_version=OPSET,
            input_names=list(names[:-1]),
            output_names=[names[-1]],
            dynamic_shapes=tuple(dict(s) for s in shapes),
            verbose=False,
        )
