"""Models for other programs: the same answers as ours, from raw grey values, and a package that is valid."""

import json
import zipfile

import numpy as np
import pytest
import torch

from napari_focusstack.cli.main import _run
from napari_focusstack.core.devices import placed
from napari_focusstack.core.errors import InputError
from napari_focusstack.io.bioimage import export_onnx, export_package
from napari_focusstack.networks import deblur, ldsenet, mmdf, zoo

pytest.importorskip("onnxscript")
onnxruntime = pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # bioimageio.spec leaves its files to Python

ARGUMENTS = {
    "mmdf": {"width": 0.1},
    "ldsenet": {"width": 0.4, "layers": [1, 1, 1, 1]},
    "deblur_unet": {"width": 0.05},
}
NETWORKS = {
    "mmdf": mmdf.FocusClassifier(**ARGUMENTS["mmdf"]),
    "ldsenet": ldsenet.ldsenet(**ARGUMENTS["ldsenet"]),
    "deblur_unet": deblur.UNet(**ARGUMENTS["deblur_unet"]),
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
        card = {
            "name": name,
            "title": f"A {name}",
            "task": "To test with",
            "paper": "Nobody 2026: nothing",
            "architecture": name,
            "arguments": ARGUMENTS[name],
            "input_px": (84, 84),
            "normalisation": "its own",
            "outputs": "numbers; whole ones",
            "training_data": {"cells": "CC0"},
        }
        zoo.save_model(network.eval(), card, root / name)
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
    found = foreign(models / "deblur_unet_package/weights.onnx", raw)
    for one, ours in zip(raw, found, strict=True):
        low, high = np.quantile(one, (0.001, 0.999))
        with torch.inference_mode():
            scaled = NETWORKS["deblur_unet"].eval()(torch.from_numpy((one[None] - low) / (high - low)).float())
        np.testing.assert_allclose(ours, scaled[0].numpy() * (high - low) + low, rtol=1e-4)


@pytest.mark.parametrize("name", list(NETWORKS))
def test_the_package_is_valid_and_says_what_the_card_says(models, name):
    from bioimageio import spec

    read = spec.load_description(models / f"{name}.zip")
    assert read.validation_summary.status != "failed", read.validation_summary.display()
    assert str(read.license) == "BSD-3-Clause"
    assert read.cite[0].text == "Nobody 2026: nothing"
    assert read.type == "model"


@pytest.mark.parametrize("name", list(NETWORKS))
def test_the_package_holds_its_own_proof(models, name):
    from bioimageio import spec

    folder = models / f"{name}_package"
    read = spec.load_model_description(models / f"{name}.zip")
    given = [np.load(folder / str(t.test_tensor.source.path)) for t in read.inputs]
    assert given[0].std() > 0
    wanted = np.load(folder / str(read.outputs[0].test_tensor.source.path))
    np.testing.assert_allclose(foreign(folder / "weights.onnx", *given), wanted, rtol=1e-3, atol=1e-4)


def test_a_file_of_onnx_alone_is_the_same_graph(models, tmp_path):
    path = export_onnx(str(models / "mmdf"), tmp_path / "model.onnx")
    raw = camera(1, 1, 128, 128)
    np.testing.assert_array_equal(foreign(path, raw), foreign(models / "mmdf_package/weights.onnx", raw))


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
    image = torch.rand(1, 1, 48, 32)
    with torch.inference_mode():
        torch.testing.assert_close(ready(image), NETWORKS["deblur_unet"].eval()(image), atol=1e-4, rtol=1e-4)


def test_a_network_that_onnxruntime_does_not_take_is_told(models):
    network, card = zoo.load_model(str(models / "mmdf"))
    with pytest.raises(InputError, match="'botnet' does not run through onnxruntime"):
        placed(network, card.model_copy(update={"architecture": "botnet"}), "onnx")


def test_the_command_shows_and_exports(models, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("FOCUSSTACK_MODELS", str(models))
    assert _run(["models", "mmdf", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["architecture"] == "mmdf"
    path = tmp_path / "m.onnx"
    assert _run(["models", "mmdf", "--onnx", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["onnx"] == str(path)
    assert foreign(path, camera(1, 1, 128, 128)).shape == (1, 10)
    assert _run(["models", "--onnx", str(path)]) == 2
    assert "No model was named" in capsys.readouterr().err
