"""Models as packages of the BioImage Model Zoo (bioimage.io): a zip file that other programs run."""

from __future__ import annotations

import re
import tempfile
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

import napari_focusstack
from napari_focusstack.core.errors import InputError
from napari_focusstack.io.atomic import check_target, replacing
from napari_focusstack.io.samples import sample_stack
from napari_focusstack.networks.zoo import CARD, ModelCard, ModelError, find_model, load_model

if TYPE_CHECKING:
    from napari_focusstack.networks.export import Graph

REPOSITORY = "https://github.com/napari-focusstack/napari-focusstack"
AUTHORS = ("the napari-focusstack developers",)
SAMPLE = "organoids"
COVER_PX = (256, 512)


def export_onnx(name: str, path: Path, *, overwrite: bool = False) -> Path:
    """Write a model as ONNX: raw grey values go in, what the card promises comes out.

    Parameters
    ----------
    name : str
        Name or folder of the model.
    path : Path
        File to write (.onnx).
    overwrite : bool
        Whether a file that is there may be replaced.

    Raises
    ------
    InputError
        If there is no such model, it can't be exported, or the file may not be written.
    """
    check_target(_ending(path, ".onnx"), overwrite=overwrite)
    graph, _ = _graph(name)
    with replacing(path, overwrite=overwrite) as part:
        _write_graph(graph, part)
    return path


def export_package(name: str, path: Path, *, overwrite: bool = False) -> Path:
    """Write a model as a BioImage.IO package: ONNX weights, its card, and a test input with its output.

    Parameters
    ----------
    name : str
        Name or folder of the model.
    path : Path
        File to write (.zip).
    overwrite : bool
        Whether a file that is there may be replaced.

    Raises
    ------
    InputError
        As `export_onnx`, and where `bioimageio.spec` is not installed or finds fault with the package.
    """
    check_target(_ending(path, ".zip"), overwrite=overwrite)
    if find_spec("bioimageio") is None or find_spec("bioimageio.spec") is None:
        raise InputError(
            "A BioImage.IO package takes bioimageio.spec, which is not installed: "
            "pip install 'napari-focusstack[onnx]'."
        )
    from bioimageio.spec import ValidationContext, save_bioimageio_package

    graph, card = _graph(name)
    # Nothing that a package says is looked up in the web: it can be written offline.
    with (
        tempfile.TemporaryDirectory() as work,
        ValidationContext(root=Path(work), perform_io_checks=False),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore", ResourceWarning)  # it leaves closing its files to Python
        warnings.filterwarnings("ignore", category=UserWarning, module="bioimageio")  # about itself
        try:
            described = _described(graph, card, Path(work), card_file=find_model(name) / CARD)
        except ValidationError as error:
            wrong = error.errors()[0]
            where = ".".join(map(str, wrong["loc"]))
            raise InputError(f"The card of '{name}' makes no package ({where}: {wrong['msg']}): change it.") from error
        with replacing(path, overwrite=overwrite) as part:
            package = save_bioimageio_package(described, output_path=Path(work) / "package.zip")
            part.write_bytes(Path(package).read_bytes())
    return path


def _graph(name: str) -> tuple[Graph, ModelCard]:
    from napari_focusstack.networks.export import graph_of

    try:
        network, card = load_model(name)
        return graph_of(network, card), card
    except ModelError as error:
        raise InputError(str(error)) from error


def _write_graph(graph: Graph, path: Path) -> None:
    from napari_focusstack.networks.export import write_graph

    try:
        write_graph(graph, path)
    except ModelError as error:
        raise InputError(str(error)) from error


def _ending(path: Path, suffix: str) -> Path:
    if path.suffix.lower() != suffix:
        raise InputError(f"'{path.name}' does not end in {suffix}: give a name that does.")
    return path


def _described(graph: Graph, card: ModelCard, work: Path, *, card_file: Path) -> Any:
    """The package's description, its files written into a folder."""
    from bioimageio.spec.model import v0_5 as spec

    inputs, output = _tested(graph)
    files = {name: work / f"test_{name}.npy" for name in (*inputs, graph.output)}
    for tensor, array in (*inputs.items(), (graph.output, output)):
        np.save(files[tensor], array)
    _write_graph(graph, work / "weights.onnx")
    (work / "README.md").write_text(_told(graph, card), encoding="utf-8")
    (work / "card.json").write_bytes(card_file.read_bytes())
    _save_cover(next(iter(inputs.values()))[0], work / "cover.png")
    authors = [spec.Author(name=name, github_user=None) for name in AUTHORS]
    return spec.ModelDescr(
        name=re.sub(r"[^\w+\- ()]", " ", f"{card.title} ({card.name})", flags=re.ASCII),
        description=card.task[:1024],
        authors=authors,
        cite=[spec.CiteEntry(text=card.paper, url=spec.HttpUrl(REPOSITORY))],
        license=spec.LicenseId(card.licence),
        documentation=spec.FileDescr(source=work / "README.md"),
        covers=[spec.FileDescr(source=work / "cover.png")],
        git_repo=spec.HttpUrl(REPOSITORY),
        tags=["focus", "microscopy", "napari-focusstack", card.architecture],
        attachments=[spec.FileDescr(source=work / "card.json")],
        inputs=[_input(spec, name, a, graph, files[name], first=i == 0) for i, (name, a) in enumerate(inputs.items())],
        outputs=[_output(spec, graph, card, files[graph.output])],
        weights=spec.WeightsDescr(onnx=spec.OnnxWeightsDescr(source=work / "weights.onnx", opset_version=_opset())),
    )


def _opset() -> int:
    from napari_focusstack.networks.export import OPSET

    return OPSET


def _tested(graph: Graph) -> tuple[dict[str, NDArray[np.float32]], NDArray[np.float32]]:
    """Test inputs, the image a real one, and what the model makes of them."""
    import torch

    inputs = {name: example.numpy() for name, example in graph.inputs.items()}
    name, example = next(iter(inputs.items()))
    shape = example.shape[-2:]
    channels = [_sample(2 + 2 * k if graph.slices else 2, shape) for k in range(example.shape[1])]
    inputs[name] = np.stack(channels)[None]
    with torch.inference_mode():
        output = graph.module(*(torch.from_numpy(a) for a in inputs.values()))
    return inputs, output.numpy()


def _sample(z: int, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """The middle of a real slice."""
    plane = np.asarray(sample_stack(SAMPLE).plane(z=z), np.float32)
    plane = plane if plane.ndim == 2 else plane.mean(axis=-1)
    h, w = shape
    y, x = ((n - m) // 2 for n, m in zip(plane.shape, shape, strict=True))
    part = plane[max(y, 0) : max(y, 0) + h, max(x, 0) : max(x, 0) + w]
    return part if part.shape == shape else np.asarray(cv2.resize(plane, (w, h), interpolation=cv2.INTER_AREA))


def _input(spec: Any, name: str, example: NDArray[np.float32], graph: Graph, file: Path, *, first: bool) -> Any:
    axes = [spec.BatchAxis()]
    if first:
        axes.append(spec.ChannelAxis(channel_names=list(graph.shown)))
        for axis, length in zip("yx", example.shape[-2:], strict=True):
            free = None if graph.step_px is None else spec.ParameterizedSize(min=2 * graph.step_px, step=graph.step_px)
            axes.append(spec.SpaceInputAxis(id=axis, size=length if free is None else free))
    else:
        n = example.shape[1]
        axes.append(spec.ChannelAxis(channel_names=[name] if n == 1 else [f"{name}_{k}" for k in range(n)]))
    told = "Raw grey values of any scale." if first else graph.known[name]
    return spec.InputTensorDescr(id=name, axes=axes, description=told, test_tensor=spec.FileDescr(source=file))


def _output(spec: Any, graph: Graph, card: ModelCard, file: Path) -> Any:
    axes = [spec.BatchAxis(), spec.ChannelAxis(channel_names=list(graph.channels or ("grey",)))]
    if not graph.channels:
        image = next(iter(graph.inputs))
        axes += [spec.SpaceOutputAxis(id=a, size=spec.SizeReference(tensor_id=image, axis_id=a)) for a in "yx"]
    told = _allowed(card.outputs)
    return spec.OutputTensorDescr(id=graph.output, axes=axes, description=told, test_tensor=spec.FileDescr(source=file))


def _allowed(text: str) -> str:
    """Descriptions there take few signs."""
    return "".join(c if c.isalnum() or c in " _+-.,/()" else " " for c in text)[:128]


def _told(graph: Graph, card: ModelCard) -> str:
    """The package's documentation, from the card."""
    sides = "fixed" if graph.step_px is None else f"any multiples of {graph.step_px}"
    lines = [
        f"# {card.title}",
        f"{card.task}.",
        f"After {card.paper}. Trained with [napari-focusstack]({REPOSITORY}) {napari_focusstack.__version__} or older.",
        "## Use",
        f"Give raw grey values: normalisation ({card.normalisation}) is part of the graph. Sides: {sides}.",
        f"Output: {card.outputs}.",
        "## Training data",
        *(f"- {name}: {what}" for name, what in card.training_data.items()),
        "## Validation",
        "Measured on sources absent from training:" if card.accuracy else "No accuracy on held-out sources is known.",
        *(f"- {name}: {value}" for name, value in card.accuracy.items()),
        f"\nLicence of the weights: {card.licence}. All that is known of the model: card.json.",
    ]
    return "\n\n".join(lines) + "\n"


def _save_cover(image: NDArray[np.float32], path: Path) -> None:
    """The test image, in the proportions that a cover has to have."""
    grey = image.mean(axis=0)
    low, high = np.quantile(grey, (0.01, 0.99))
    scaled = np.uint8(255 * np.clip((grey - low) / max(high - low, 1e-12), 0, 1))
    ok, content = cv2.imencode(".png", cv2.resize(scaled, COVER_PX[::-1], interpolation=cv2.INTER_CUBIC))
    assert ok
    path.write_bytes(content.tobytes())
