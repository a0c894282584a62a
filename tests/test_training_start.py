"""Trainings that go on from a network that is there, and stages that change together."""

import imageio.v3 as iio
import pytest
import torch

from napari_focusstack.core.errors import InputError
from napari_focusstack.core.progress import drain
from napari_focusstack.networks.mmdf import FocusClassifier
from napari_focusstack.networks.zoo import BUNDLED, load_model, read_card, save_model
from napari_focusstack.training.fit import FitSettings
from napari_focusstack.training.recipes import RECIPES, train, varied
from test_patches import cells
from test_zoo import card

ONE_STEP = FitSettings(epochs=1, steps=1, batch=2, valid_steps=1)
MODELS = {read_card(folder).architecture: folder.name for folder in sorted(BUNDLED.iterdir()) if folder.is_dir()}
TRAINABLE = [recipe.name for recipe in RECIPES if recipe.architecture in MODELS]
OTHERWISE = ["gmanet_paper_l0", "gmanet_paper", "fusegan_multiplied", "fusegan_without_masks"]
OTHERWISE += ["mmdf_statistics", "hhnet_paper", "ldsenet_paper"]
"""Other channels than the bundled network's, or statistics that only one of the two has."""


@pytest.fixture(autouse=True)
def models(tmp_path, monkeypatch):
    """The user's folder of models, empty."""
    monkeypatch.setenv("FOCUSSTACK_MODELS", str(tmp_path / "models"))
    return tmp_path / "models"


@pytest.fixture(scope="module")
def sharp(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sharp")
    for i in range(2):
        iio.imwrite(folder / f"{i}.png", cells(i))
    return folder


@pytest.fixture
def starts(models):
    """Two networks alike but for their weights."""
    for seed, name in enumerate(("one", "other")):
        torch.manual_seed(seed)
        save_model(FocusClassifier(width=0.1), card() | {"name": name}, models / name)
    return models


def go_on(folder, sharp, *, recipe="mmdf", settings=ONE_STEP, **options):
    return drain(train(RECIPES[recipe], sharp, folder=folder, settings=settings, **options))


def test_a_folder_goes_on_from_its_own_start_alone(sharp, starts, tmp_path):
    first = go_on(tmp_path, sharp, model="one")
    again = go_on(tmp_path, sharp, model="one")
    assert again.fitted.seconds == first.fitted.seconds
    with pytest.raises(InputError, match="another start"):
        go_on(tmp_path, sharp, model="other")
    with pytest.raises(InputError, match="another start"):
        go_on(tmp_path, sharp, settings=ONE_STEP.model_copy(update={"learning_rate": 5e-4}), width=0.1)


def test_a_folder_begun_by_chance_says_nothing_of_a_start(sharp, starts, tmp_path):
    """As all did before trainings could go on from a network: they are resumed, but from no network."""
    rate = ONE_STEP.model_copy(update={"learning_rate": 5e-4})
    first = go_on(tmp_path, sharp, settings=rate, width=0.1)
    about = torch.load(tmp_path / "checkpoint.pt", weights_only=True)["about"]
    assert about == RECIPES["mmdf"].data.settings.model_dump_json()
    assert go_on(tmp_path, sharp, settings=rate, width=0.1).fitted.seconds == first.fitted.seconds
    with pytest.raises(InputError, match="another start"):
        go_on(tmp_path, sharp, settings=rate, model="one")


@pytest.mark.parametrize("name", [n for n in TRAINABLE if n not in OTHERWISE])
def test_recipes_go_on_from_the_bundled_network(name, sharp, tmp_path):
    """A step too small to change anything ends with the weights that were given."""
    model, still = MODELS[RECIPES[name].architecture], ONE_STEP.model_copy(update={"learning_rate": 1e-12})
    trained = go_on(tmp_path, sharp, recipe=name, settings=still, model=model)
    network, _ = load_model(model)
    assert type(trained.network) is type(network)
    for (key, found), start in zip(trained.network.named_parameters(), network.parameters(), strict=True):
        torch.testing.assert_close(found, start, atol=1e-5, rtol=0, msg=key)


@pytest.mark.parametrize("name", OTHERWISE)
def test_a_network_that_is_built_otherwise_is_told_with_what_is_needed(name, sharp, tmp_path):
    model, needed = MODELS[RECIPES[name].architecture], RECIPES[name].arguments
    given = {k: v for k, v in read_card(BUNDLED / model).arguments.items() if k != "width"}
    assert given != needed
    with pytest.raises(InputError) as refused:
        go_on(tmp_path, sharp, recipe=name, model=model)
    nothing = "no arguments but its width"
    had, asked = (", ".join(f"{k} {v}" for k, v in of.items()) or nothing for of in (given, needed))
    assert f"'{model}' is built with {had}, but '{name}' needs {asked}: go on from" in str(refused.value)
    assert "width" not in str(refused.value).replace(nothing, "")


def test_a_width_that_differs_is_told_with_both(sharp, starts, tmp_path):
    with pytest.raises(InputError, match=r"width 0\.1, but 0\.5 was given: leave the width out"):
        go_on(tmp_path, sharp, model="one", width=0.5)


def test_a_network_starts_from_one_of_two(sharp, tmp_path):
    job = train(RECIPES["gmanet"], sharp, folder=tmp_path / "run", model="gmanet", imagenet=tmp_path / "vgg16_bn.pth")
    with pytest.raises(InputError, match="a network starts from one, leave the other out"):
        drain(job)


@pytest.mark.parametrize(
    ("settings", "rate"),
    [
        (ONE_STEP, 0.5),
        (RECIPES["ifcnn"].fit.model_copy(update={"epochs": 1, "steps": 1, "batch": 2, "valid_steps": 1}), 0.5),
        (ONE_STEP.model_copy(update={"learning_rate": 3e-4}), 3e-4 / RECIPES["ifcnn"].fit.learning_rate),
        (FitSettings(**ONE_STEP.model_dump()), 1e-3 / RECIPES["ifcnn"].fit.learning_rate),
    ],
)
def test_the_recipes_learning_rate_is_halved_and_one_that_was_given_is_kept(settings, rate, sharp, tmp_path):
    trained = go_on(tmp_path, sharp, recipe="ifcnn", settings=settings, model="ifcnn")
    assert trained.settings["fit"]["learning_rate"] == pytest.approx(rate * RECIPES["ifcnn"].fit.learning_rate)


def test_other_data_reach_every_stage_that_knows_them():
    last, plain = varied(RECIPES["hhnet"], {"jpeg": "0.5", "aperture": "[0.3, 0.4]"}), RECIPES["hhnet"]
    known = []
    while last is not None:
        known.append("aperture" in type(plain.data.settings).model_fields)
        changes = {"jpeg": 0.5} | ({"aperture": (0.3, 0.4)} if known[-1] else {})
        assert last.data.settings == plain.data.settings.model_copy(update=changes)
        last, plain = last.before, plain.before
    assert known == [True, True, False, False]
