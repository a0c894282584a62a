"""Models for other programs: the same answers as ours, from raw grey values, and a package that is valid."""

import json
import zipfile
from importlib import import_module

import cv2
import numpy as np
import pytest
import torch

from napari_focusstack.cli.main import _run
from napari_focusstack.core.devices import placed
from napari_focusstack.core.errors import InputError
from napari_focusstack.io import bioimage
from napari_focusstack.io.bioimage import export_onnx, export_package
from napari_focusstack.networks import deblur, export, ldsenet, mmdf, zoo

pytest.importorskip("onnxscript")
onnxruntime = pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # bioimageio.spec leaves its files to Python

ARGUMENTS = {
    "mmdf": {"width": 0.1, "statistics": True},
    "ldsenet": {"width": 0.4, "layers": [1, 1, 1, 1]},
    "deblur_srcnn": {"width": 0.05},
    "deblur_unet": {"width": 0.05},
}
NETWORKS = {
    "mmdf": mmdf.FocusClassifier(**ARGUMENTS["mmdf"]),
    "ldsenet": ldsenet.ldsenet(**ARGUMENTS["ldsenet"]),
    "deblur_srcnn": deblur.SRCNN(**ARGUMENTS["deblur_srcnn"]),
    "deblur_unet": deblur.UNet(**ARGUMENTS["deblur_unet"]),
}
PACKED = ("mmdf", "ldsenet", "deblur_srcnn")
"""One of each kind; torch takes its time for each operation that it writes."""


def about(architecture, arguments):
    """A card but for the checksum."""
    return {
        "name": architecture,
        "title": f"A {architecture} of somebody, 2026 (φ 32).",
        "task": "To test with",
        "paper": "Nobody 2026: nothing",
        "architecture": architecture,
        "arguments": arguments,
        "input_px": (84, 84),
        "normalisation": "its own",
        "outputs": "numbers; whole ones",
        "training_data": {"cells": "CC0"},
    }


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A folder with an untrained model of each kind, and their packages, unpacked."""
    pytest.importorskip("bioimageio.spec")
    root = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    for name, network in NETWORKS.items():
        for p in network.parameters():
            torch.nn.init.normal_(p, std=0.1)
        card = about(name, ARGUMENTS[name])
        zoo.save_model(network.eval(), card, root / name)
    for name in PACKED:
        with zipfile.ZipFile(export_package(str(root / name), root / f"{name}.zip")) as file:
            file.extractall(root / f"{name}_package")
    return root


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """Where the parts that onnxruntime runs are kept."""
    return tmp_path_factory.mktemp("parts")


def foreign(path, *inputs):
    """What another program gets."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [i.name for i in session.get_inputs()]
    return session.run(None, dict(zip(names, inputs, strict=True)))[0]


def camera(*shape):
    """Raw values of a 16 bit camera: an offset, and a scale that no network was trained on."""
    return (1000 + 300 * np.random.default_rng(0).random(shape)).astype(np.float32)


def test_the_classifier_needs_no_preprocessing(models):
    raw = camera(3, 1, 128, 128)
    found = foreign(models / "mmdf_package/weights.onnx", raw)
    network = NETWORKS["mmdf"].eval()
    with torch.inference_mode():
        ours = torch.softmax(network(torch.from_numpy((raw - 1000) / 300)), dim=1).numpy()
    np.testing.assert_allclose(found, ours, atol=1e-4)


def test_defocus_comes_out_decoded(models):
    raw = camera(ldsenet.LEAST_PX, ldsenet.LEAST_PX)
    sampling = np.full((1, 1), ldsenet.SAMPLING, np.float32)
    found = foreign(models / "ldsenet_package/weights.onnx", raw[None, None], sampling)[0]
    network = NETWORKS["ldsenet"].eval()
    ours = ldsenet.measure_plane(network, raw, sampling=ldsenet.SAMPLING)
    np.testing.assert_allclose(found, [ours.waves[0, 0], ours.side[0, 0]], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("shape", [(128, 192), (48, 80)])
def test_an_image_of_another_size_is_restored_on_its_own_scale(models, shape):
    raw = camera(2, 1, *shape)
    found = foreign(models / "deblur_srcnn_package/weights.onnx", raw)
    for one, ours in zip(raw, found, strict=True):
        low, high = np.quantile(one, (0.001, 0.999))
        with torch.inference_mode():
            scaled = NETWORKS["deblur_srcnn"].eval()(torch.from_numpy((one[None] - low) / (high - low)).float())
        np.testing.assert_allclose(ours, scaled[0].numpy() * (high - low) + low, rtol=1e-4)


@pytest.mark.parametrize("name", PACKED)
def test_the_package_is_valid_and_says_what_the_card_says(models, name):
    from bioimageio import spec

    read = spec.load_description(models / f"{name}.zip")
    assert read.validation_summary.status != "failed", read.validation_summary.display()
    assert str(read.license) == "BSD-3-Clause"
    assert read.cite[0].text == "Nobody 2026: nothing"
    assert read.type == "model"


@pytest.mark.parametrize("name", PACKED)
def test_the_package_holds_its_own_proof(models, name):
    from bioimageio import spec

    folder = models / f"{name}_package"
    read = spec.load_model_description(models / f"{name}.zip")
    given = [np.load(folder / str(t.test_tensor.source.path)) for t in read.inputs]
    assert given[0].std() > 0
    wanted = np.load(folder / str(read.outputs[0].test_tensor.source.path))
    np.testing.assert_allclose(foreign(folder / "weights.onnx", *given), wanted, rtol=1e-3, atol=1e-4)


def test_what_is_there_is_not_replaced(models, tmp_path):
    there = tmp_path / "there.onnx"
    there.write_text("mine")
    with pytest.raises(InputError, match="exists already"):
        export_onnx(str(models / "mmdf"), there)
    assert there.read_text() == "mine"


def test_a_wrong_ending_and_an_unknown_model_are_told(models, tmp_path):
    with pytest.raises(InputError, match=r"\.onnx"):
        export_onnx(str(models / "mmdf"), tmp_path / "model.pt")
    with pytest.raises(InputError, match="no model 'nobody'"):
        export_onnx("nobody", tmp_path / "model.onnx")


@pytest.mark.parametrize("shape", [(230, 301), (60, 97)])
@pytest.mark.parametrize("name", ["mmdf", "ldsenet"])
def test_onnxruntime_gives_what_torch_gives(models, parts, monkeypatch, name, shape):
    monkeypatch.setattr("platformdirs.user_cache_path", lambda _: parts)
    network, card = zoo.load_model(str(models / name))
    raw = camera(*shape)
    found = []
    for device in ("cpu", "onnx"):
        ready = placed(network, card, device)
        if name == "mmdf":
            found.append(mmdf.classify_plane(ready, raw))
        else:
            found.append(ldsenet.measure_plane(ready, raw, sampling=0.4).waves)
    np.testing.assert_allclose(found[1], found[0], rtol=1e-3, atol=1e-5)


def test_parts_are_written_once(models, parts, monkeypatch):
    monkeypatch.setattr("platformdirs.user_cache_path", lambda _: parts)
    placed(*zoo.load_model(str(models / "mmdf")), "onnx")
    before = {file: file.stat().st_mtime_ns for file in parts.rglob("*.onnx")}
    assert before
    placed(*zoo.load_model(str(models / "mmdf")), "onnx")
    assert {file: file.stat().st_mtime_ns for file in parts.rglob("*.onnx")} == before


def test_whole_networks_keep_what_is_known_of_them(models, tmp_path, monkeypatch):
    monkeypatch.setattr("platformdirs.user_cache_path", lambda _: tmp_path)
    ready = placed(*zoo.load_model(str(models / "deblur_unet")), "onnx")
    assert ready.multiple_px == 16
    for shape in ((48, 32), (64, 80)):
        image = torch.rand(1, 1, *shape)
        with torch.inference_mode():
            torch.testing.assert_close(ready(image), NETWORKS["deblur_unet"].eval()(image), atol=1e-4, rtol=1e-4)


def test_a_network_that_onnxruntime_does_not_take_is_told(models):
    network, card = zoo.load_model(str(models / "mmdf"))
    with pytest.raises(InputError, match="'botnet' does not run through onnxruntime"):
        placed(network, card.model_copy(update={"architecture": "botnet"}), "onnx")


def test_the_command_shows_and_exports_the_packages_graph_alone(models, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("FOCUSSTACK_MODELS", str(models))
    assert _run(["models", "mmdf", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["architecture"] == "mmdf"
    path = tmp_path / "m.onnx"
    assert _run(["models", "mmdf", "--onnx", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["onnx"] == str(path)
    raw = camera(1, 1, 128, 128)
    np.testing.assert_array_equal(foreign(path, raw), foreign(models / "mmdf_package/weights.onnx", raw))
    assert _run(["models", "--onnx", str(path)]) == 2
    assert "No model was named" in capsys.readouterr().err


OTHERS = {
    "hhnet": {"width": 0.1, "statistics": True, "objective": True},
    "fusion_cnn": {"width": 0.07},
    "decision_unet": {"width": 0.07},
    "ifcnn": {"width": 0.1},
    "fusegan": {"width": 0.1},
    "msegnet": {"width": 0.1},
    "segnet": {"width": 0.1},
    "unet_mask": {"width": 0.1},
}


def built(architecture):
    """An untrained network."""
    torch.manual_seed(0)
    module, builder = zoo.ARCHITECTURES[architecture].split(":")
    network = getattr(import_module(f"napari_focusstack.networks.{module}"), builder)
    return network(**OTHERS[architecture]).eval()


def card_of(architecture):
    """Its card."""
    return zoo.ModelCard(**about(architecture, OTHERS[architecture]), sha256=64 * "0")


def graph(architecture):
    """What other programs see of it."""
    return export.graph_of(built(architecture), card_of(architecture))


@pytest.mark.parametrize("architecture", list(OTHERS))
def test_raw_values_of_any_scale_are_answered_alike(architecture):
    one = graph(architecture)
    image, *more = (x.clone() for x in one.inputs.values())
    with torch.inference_mode():
        plain, camera = one.module(image, *more), one.module(300 * image + 1000, *more)
    if one.output == "fused":
        camera = (camera - 1000) / 300
    assert plain.std() > 0
    torch.testing.assert_close(camera, plain, atol=1e-3, rtol=1e-3)


def test_unpooling_is_the_same_in_onnx_at_any_size(tmp_path):
    one = graph("msegnet")
    export.write_graph(one, tmp_path / "m.onnx")
    for shape in ((32, 48), (64, 32)):
        raw = camera(3, 1, *shape)
        with torch.inference_mode():
            ours = one.module(torch.from_numpy(raw)).numpy()
        np.testing.assert_allclose(foreign(tmp_path / "m.onnx", raw), ours, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ["hhnet", "ldsenet"])
def test_smooth_black_and_even_images_are_answered_alike_in_onnx(name, tmp_path):
    """Its writer takes additions of tiny numbers away, which are all that is there where nothing else is."""
    network, card = zoo.load_model(str(zoo.BUNDLED / name))
    one = export.graph_of(network.eval(), card)
    export.write_graph(one, tmp_path / "m.onnx")
    image, *more = one.inputs.values()
    ramp = torch.linspace(0, 1, image.shape[-1]) + 1e-3 * image
    blurred = torch.from_numpy(cv2.GaussianBlur(image[0, 0].numpy(), (0, 0), 5))[None, None]
    dark = image * (torch.arange(image.shape[-1]) < 30)
    for seen in (ramp, blurred, dark, torch.full_like(image, 7.0)):
        given = [seen.contiguous(), *more]
        with torch.inference_mode():
            ours = one.module(*given).numpy()
        assert np.isfinite(ours).all()
        np.testing.assert_allclose(
            foreign(tmp_path / "m.onnx", *(g.numpy() for g in given)), ours, rtol=2e-3, atol=2e-3
        )


@pytest.mark.parametrize(("architecture", "channels"), [("decision_unet", [2]), ("hhnet", [1, 18, 2])])
def test_several_slices_and_further_inputs_are_described(tmp_path, monkeypatch, architecture, channels):
    """What bioimageio.spec says to inputs that are no single image; it does not look into the weights."""
    spec = pytest.importorskip("bioimageio.spec")
    monkeypatch.setattr(bioimage, "_write_graph", lambda _, path: path.write_bytes(b"none"))
    (tmp_path / "given.json").write_text("{}")
    with spec.ValidationContext(root=tmp_path, perform_io_checks=False):
        card = tmp_path / "given.json"
        told = bioimage._described(graph(architecture), card_of(architecture), tmp_path, card_file=card)
    assert [len(i.axes[1].channel_names) for i in told.inputs] == channels
    given = np.load(tmp_path / "test_image.npy")
    assert len({plane.std() for plane in given[0]}) == channels[0]
