"""HH-Net: the network, its recipe, and what it says as a scorer."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from napari_focusstack.core import votes  # noqa: E402
from napari_focusstack.core.errors import InputError  # noqa: E402
from napari_focusstack.core.pipeline import score  # noqa: E402
from napari_focusstack.core.stack import Optics, Stack  # noqa: E402
from napari_focusstack.networks import hhnet, infer  # noqa: E402
from napari_focusstack.networks.zoo import BUNDLED, load_model, read_card  # noqa: E402
from napari_focusstack.training.library import Sharp, edge_width  # noqa: E402
from napari_focusstack.training.patches import Patches  # noqa: E402
from napari_focusstack.training.recipes import RECIPES  # noqa: E402
from napari_focusstack.training.recipes.hhnet import (  # noqa: E402
    TRAINED_PX,
    AugmentedPatches,
    HHData,
    HHSettings,
    augmented,
    spherical_along,
)
from test_patches import cells  # noqa: E402

DISTANCES = np.array(hhnet.DISTANCES)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return infer.prepare(hhnet.hhnet(width=0.1), device=torch.device("cpu"))


@pytest.fixture(scope="module")
def sharp():
    return [Sharp("cells", str(i), ((cells(i) / 255).astype(np.float16),)) for i in range(2)]


def distance_of(blur_px, *, above=True):
    p = hhnet.class_targets(torch.tensor(blur_px), above=torch.full((len(blur_px),), above))
    return (p.numpy() @ DISTANCES), p.numpy()


def test_core_and_network_agree_on_the_classes():
    assert votes.DISTANCES == hhnet.DISTANCES


def test_the_paper_sized_network_has_16_layers_with_weights_and_224_and_32_nodes():
    network = hhnet.hhnet()
    layers = [m for m in network.modules() if isinstance(m, (torch.nn.Conv2d, torch.nn.Linear))]
    convolutions = [m for m in layers if isinstance(m, torch.nn.Conv2d)]
    assert [(c.kernel_size[0], c.out_channels) for c in convolutions] == (
        [(5, 64)] * 2 + [(3, 128)] * 2 + [(3, 256)] * 3 + [(3, 512)] * 6
    )
    joined = (network.seen.out_features, network.known.out_features)
    assert joined == (224, 32)
    full = [m.out_features for m in network.decide if isinstance(m, torch.nn.Linear)]
    assert full == [256, 7]
    # Both halves of the first fully connected layer are one of the 16.
    assert len(convolutions) + 1 + len(full) == 16
    assert network(torch.rand(2, 1, 300, 300), torch.rand(2, 18)).shape == (2, 7)


def test_dropout_is_the_papers_unless_another_is_asked_for():
    rates = [m.p for m in hhnet.hhnet(width=0.1).decide if isinstance(m, torch.nn.Dropout)]
    assert rates == [0.7, 0.5]


def test_brightness_contrast_and_shading_do_not_matter(network):
    patch, known = torch.rand(1, 1, 120, 120), torch.rand(1, 18)
    with torch.inference_mode():
        same = network(1000 * patch + 77, known)
        torch.testing.assert_close(network(patch, known), same, atol=1e-3, rtol=1e-3)


def test_patch_and_features_both_reach_the_answer():
    torch.manual_seed(0)
    network = hhnet.hhnet(width=0.1)
    patch, known = torch.rand(4, 1, 96, 96, requires_grad=True), torch.randn(4, 18, requires_grad=True)
    network(patch, known).square().sum().backward()
    assert float(patch.grad.abs().max()) > 0
    assert (known.grad.abs().sum(dim=0) > 0).all()


def test_a_wild_feature_does_not_drown_the_patch(network):
    patch, known = torch.rand(1, 1, 120, 120), torch.zeros(1, 18)
    wild, wilder = known.clone(), known.clone()
    wild[0, 9], wilder[0, 9] = 1e4, 1e9
    with torch.inference_mode():
        torch.testing.assert_close(network(patch, wild), network(patch, wilder))


def test_targets_are_one_class_in_its_band_and_divided_between_bands():
    distance, p = distance_of([0.0, 1.5, 3.0, 4.9, 7.0, 11.0, 15.0, 27.0, 80.0])
    np.testing.assert_allclose(distance, [0, 0, 1, 1, 2, 2, 3, 3, 3], atol=1e-6)
    np.testing.assert_allclose(p.max(axis=1), 1, atol=1e-6)
    between, p = distance_of([2.25, 6.0, 13.0])
    np.testing.assert_allclose(between, [0.5, 1.5, 2.5], atol=1e-6)
    np.testing.assert_allclose(p.sum(axis=1), 1, atol=1e-6)


def test_the_mean_over_the_target_grows_steadily_with_blur_and_the_sides_mirror_each_other():
    blur = np.linspace(0, 40, 400).tolist()
    far, _ = distance_of(blur)
    near, _ = distance_of(blur, above=False)
    assert (np.diff(far) >= -1e-6).all()
    np.testing.assert_allclose(far, -near)


@pytest.mark.parametrize(("shape", "grid"), [((1536, 2048), (5, 6)), ((300, 300), (1, 1)), ((200, 700), (1, 2))])
def test_patches_of_300_px_lie_in_the_image_and_never_overlap(shape, grid):
    found = hhnet.Patches.of(shape)
    assert (len(found.rows), len(found.columns)) == grid
    covered = np.zeros(shape, int)
    for where in found.slices:
        assert covered[where].shape == found.size
        covered[where] += 1
    assert covered.max() == 1


def test_a_plane_is_judged_patch_by_patch(network):
    plane = np.random.default_rng(0).random((330, 650)).astype(np.float32)
    known = np.zeros(18, np.float32)
    p = hhnet.classify_plane(network, plane, known)
    assert p.shape == (1, 2, 7)
    np.testing.assert_allclose(p.sum(axis=-1), 1, atol=1e-5)


def test_an_even_plane_is_every_class_alike(network):
    p = hhnet.classify_plane(network, np.full((90, 90), 7, np.uint8), np.zeros(18, np.float32))
    np.testing.assert_allclose(p, 1 / 7, atol=1e-6)


def likeness_of_pairs(sharp, **given):
    """Mean correlation between the two sides of focus, as the network sees them."""
    plain = dict.fromkeys(("blank", "dirt", "haze", "jpeg", "drawn", "inverted"), 0.0)
    plain |= {"texture": 0.15, "electrons": (4.8, 4.8), "blur_px": (5.0, 11.0)}
    settings = RECIPES["hhnet"].data.settings.model_copy(update=plain | given)
    drawn = AugmentedPatches(sharp, settings, batch=24, seed=3).draw()
    torch.testing.assert_close(drawn.waves[1::2], -drawn.waves[::2])
    seen = hhnet.hhnet(width=0.1).norm(drawn.image).flatten(1).numpy()
    return np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(seen[::2], seen[1::2], strict=True)])


def test_the_recipes_aberration_makes_the_sides_differ_in_what_the_network_sees(sharp):
    """Without it they are alike but for the noise, and no training could tell them apart."""
    fluorescence = (1.0, 0.0, 0.0, 0.0)
    without = likeness_of_pairs(sharp, modes=fluorescence, spherical_waves=(0.0, 0.0))
    assert 1 - likeness_of_pairs(sharp, modes=fluorescence) > 3 * (1 - without)


def test_contrast_of_a_phase_object_inverts_through_focus(sharp):
    absorbing = likeness_of_pairs(sharp, modes=(0.0, 1.0, 0.0, 0.0))
    assert likeness_of_pairs(sharp, modes=(0.0, 0.0, 1.0, 0.0)) < absorbing - 0.3


def test_a_phase_object_is_bright_where_the_plane_in_focus_lies_above_it():
    """It is a lens that gathers the light above itself; images are bright ground minus the transfer's answer."""
    from napari_focusstack.training.optics import TransferTable

    transfer = TransferTable(coherence=0.7)(torch.tensor([1.0, -1.0]), torch.zeros(2)).imag
    nu = 2 * (torch.arange(192) / 191) ** 2
    middle = (nu > 0.05) & (nu < 0.5)
    assert (transfer[0, middle] < 0).all()
    torch.testing.assert_close(transfer[0], -transfer[1], atol=1e-4, rtol=1e-3)


def test_augmentation_bends_and_turns_but_adds_no_specimen():
    crop = (cells(0, size=160) / 255).astype(np.float32)
    rng = np.random.default_rng(0)
    seen = [augmented(crop, rng) for _ in range(6)]
    for image in seen:
        assert image.shape == crop.shape
        assert image.dtype == np.float32
        assert np.abs(image - crop).mean() > 0.01
        assert image.max() < crop.max() + 0.3
    assert abs(np.mean([i.mean() for i in seen]) - crop.mean()) < 0.25 * crop.mean()


def test_high_apertures_bring_spherical_aberration_along_with_defocus():
    """By the exact path through a pupil: ``n - sqrt(n² - NA²·rho²)`` in terms of 1, rho² and 6·rho⁴ - 6·rho²."""
    rho2 = (np.arange(500) + 0.5) / 500
    terms = np.stack([np.ones(500), rho2, 6 * (rho2**2 - rho2)], axis=1)
    for na in (0.3, 0.75, 0.95):
        _, second, fourth = np.linalg.lstsq(terms, 1 - np.sqrt(1 - na**2 * rho2), rcond=None)[0]
        assert spherical_along(np.array([na]))[0] == pytest.approx(fourth / second, rel=0.02)
    assert spherical_along(np.array([0.0]))[0] == pytest.approx(0, abs=1e-4)


def test_patches_have_the_aberration_of_their_aperture(sharp, monkeypatch):
    """More of it on one side of focus, less on the other; the views of a crop share their objective."""
    seen, profiles = [], Patches._profiles
    monkeypatch.setattr(Patches, "_profiles", lambda *a: (seen.append(a[2:]), profiles(*a))[1])
    settings = HHSettings(patch_px=48, tile_px=64, spherical_waves=(0.0, 0.0), modes=(1, 0, 0, 0), aperture=(0.9, 0.9))
    AugmentedPatches(sharp, settings, batch=16, seed=0).draw()
    spherical, waves = seen[0]
    torch.testing.assert_close(spherical, waves * float(spherical_along(np.array([0.9]))[0]))
    assert float(spherical.abs().max()) > 0.1


def test_specimens_are_soft_to_a_degree_of_their_own(sharp):
    def crops(soft_px):
        settings = HHSettings(patch_px=96, tile_px=128, blank=0, soft_px=soft_px)
        patches = AugmentedPatches(sharp, settings, batch=4, seed=3)
        return np.array([edge_width(patches._crop(False)) for _ in range(24)])

    crisp, soft = crops(0.0), crops(3.0)
    assert np.median(soft) > 1.3 * np.median(crisp)
    assert soft.std() > crisp.std()


def test_exact_phases_are_those_of_each_patch(sharp):
    """With them a high aperture's two sides differ from those of a low one, and the batch knows its objectives."""
    given = {"patch_px": 48, "tile_px": 64, "modes": (1, 0, 0, 0), "blank": 0, "layer": (1.2, 1.5)}

    def drawn(aperture):
        patches = AugmentedPatches(sharp, HHSettings(**given, aperture=aperture), batch=8, seed=4)
        return patches.draw().image, patches.apertures

    (low, small), (high, large) = drawn((0.2, 0.2)), drawn((0.95, 0.95))
    torch.testing.assert_close(small, torch.full((8,), 0.2))
    torch.testing.assert_close(large, torch.full((8,), 0.95))
    assert float((low - high).abs().max()) > 0.02
    settings = HHSettings(**given, aperture=(0.3, 0.9), views=2)
    batch = next(HHData(settings).batches(sharp, batch=8, seed=4))
    apertures = batch.objective[:, 1]
    assert len(apertures.unique()) == 4  # the views of a crop share their objective
    torch.testing.assert_close(apertures[::2], apertures[1::2])
    assert ((batch.objective[:, 0] > 0.2) & (batch.objective[:, 0] < 1.7)).all()


@pytest.fixture
def told_network():
    torch.manual_seed(0)
    return hhnet.hhnet(width=0.1, statistics=True, objective=True)


def test_an_objective_counts_where_it_is_known(told_network):
    network = told_network.eval()
    patch, known = torch.rand(3, 1, 160, 160), torch.randn(3, 18)
    objective = torch.tensor([[0.5, 0.3], [0.5, 0.95], [0.0, 0.0]])
    with torch.inference_mode():
        told, untold = network(patch, known, objective), network(patch, known)
        beyond = network(patch, known, torch.tensor([[0.9, 0.3], [0.5, 0.98], [0.0, 0.0]]))
        edge = network(patch, known, torch.tensor([[hhnet.SAMPLINGS[1], 0.3], [0.5, hhnet.APERTURES[1]], [0.0, 0.0]]))
    assert float((told - untold)[:2].abs().min(dim=1).values.min()) > 0
    torch.testing.assert_close(told[2], untold[2])
    torch.testing.assert_close(beyond, edge)


def test_a_network_that_is_told_nothing_takes_no_notice_and_one_without_statistics_is_refused(network):
    patch, known = torch.rand(1, 1, 120, 120), torch.zeros(1, 18)
    with torch.inference_mode():
        torch.testing.assert_close(network(patch, known, torch.tensor([[0.5, 0.9]])), network(patch, known))
    with pytest.raises(ValueError, match="statistics"):
        hhnet.hhnet(width=0.1, objective=True)


def test_a_training_leaves_out_some_of_what_it_knows(told_network, sharp):
    data = HHData(HHSettings(patch_px=48, tile_px=80, aperture=(0.3, 0.9)))
    batch, seen = next(data.batches(sharp, batch=64, seed=1)), []
    conclude, device = told_network.conclude, torch.device("cpu")
    told_network.conclude = lambda found, objective: (seen.append(objective), conclude(found, objective))[1]
    for training in (True, False):
        RECIPES["hhnet"].loss(told_network.train(training), batch, device)
    left_out = (seen[0] == 0).float().mean(dim=0)
    assert ((left_out > 0.1) & (left_out < 0.45)).all()
    assert bool((seen[0] == 0).any(dim=1).logical_and((seen[0] > 0).any(dim=1)).any())  # each for itself
    torch.testing.assert_close(seen[1], batch.objective)


def test_a_card_tells_of_all_stages(tiny_models):
    training = read_card(tiny_models / "hhnet").training
    stages = [training]
    while "before" in stages[-1]:
        stages.append(stages[-1]["before"])
    assert [s["recipe"] for s in stages] == ["hhnet", "hhnet-apertures", "hhnet-kinds", "hhnet-sides"]


def test_batches_are_the_same_for_the_same_seed_and_know_the_truth(sharp):
    data = RECIPES["hhnet"].data
    a, b = (next(data.batches(sharp, batch=8, seed=5)) for _ in range(2))
    torch.testing.assert_close(a.image, b.image)
    torch.testing.assert_close(a.features, b.features)
    assert a.image.shape[-1] >= TRAINED_PX
    torch.testing.assert_close(a.target.sum(dim=1), torch.ones(8))
    blank = a.target[~a.evidence]
    torch.testing.assert_close(blank, torch.full_like(blank, 1 / 7))


@pytest.mark.parametrize("shape", [(340, 650), (340, 650, 3)], ids=["grey", "colours"])
def test_inference_gives_what_training_gave(shape):
    """The way a plane is normalised and convolved in use is another, and quicker, one."""
    network = load_model(str(BUNDLED / "hhnet"))[0].eval()
    plane = np.random.default_rng(0).integers(0, 100, shape).astype(np.uint8)
    plane[:, 325:] = plane[:, 325:] // 10 + cells(0, size=650)[:340, 325:].reshape(340, 325, *[1] * (len(shape) - 2))
    known = np.ones(18, np.float32)
    found = hhnet.classify_plane(infer.hasten(infer.prepare(network, device=torch.device("cpu"))), plane, known)
    grey = plane if plane.ndim == 2 else plane.astype(np.float32).mean(axis=-1)
    image = torch.from_numpy(np.asarray(grey, np.float32) / 255)[None, None]
    with torch.inference_mode():
        normalised = network.norm(image)
        places = hhnet.Patches.of(plane.shape[:2]).slices
        parts, seen = (torch.cat([i[..., y, x] for y, x in places]) for i in (normalised, image))
        expected = torch.softmax(network.judge(parts, torch.from_numpy(known).expand(len(parts), -1), seen), dim=1)
    assert found.shape == (1, 2, 7)
    np.testing.assert_allclose(found[0], expected.numpy(), atol=1e-4)
    assert np.ptp(found[0], axis=0).max() > 0.05


def told(index, certain=0.9):
    """A distribution whose mean is `index`."""
    p = np.maximum(0, 1 - np.abs(DISTANCES - index))
    return (certain * p + (1 - certain) / 7).astype(np.float32)


@pytest.fixture
def knowing(networks, monkeypatch):
    """A scorer whose network reads the distance from the mean of a patch: (grey - 100) / 20; 0 holds nothing.

    Gives what the network is told of the objective, a mapping for each plane.
    """
    objectives = []

    def classify_plane(_network, plane, _features, **objective):
        objectives.append(objective)
        halves = np.array_split(np.asarray(plane, float), 2, axis=1)
        means = [half.mean() for half in halves]
        return np.array([[told((m - 100) / 20) if m > 0 else np.full(7, 1 / 7) for m in means]], np.float32)

    monkeypatch.setattr(hhnet, "classify_plane", classify_plane)
    return objectives


@pytest.mark.parametrize(
    ("optics", "told"),
    [
        (Optics(), {"sampling": None, "aperture": None}),
        (Optics(na=0.95), {"sampling": None, "aperture": 0.95}),
        (Optics(na=0.8, wavelength_um=0.5), {"sampling": 0.4, "aperture": 0.8}),
        (Optics(na=1.2, wavelength_um=0.6, immersion_index=1.5), {"sampling": 0.5, "aperture": 0.8}),
        (Optics(na=1.2, wavelength_um=0.6), {"sampling": 0.5, "aperture": 1.2 / 1.33}),
    ],
)
def test_the_network_is_told_what_is_known_of_the_objective(knowing, optics, told):
    score(stack_of(-1, 0, 1, y_um=0.25, x_um=0.25, optics=optics), scorer="hhnet", specimen=False)
    assert knowing[0] == {k: None if v is None else pytest.approx(v, rel=0.01) for k, v in told.items()}


@pytest.mark.parametrize(
    ("optics", "told"),
    [
        (Optics(na=75), "aperture of 75"),
        (Optics(na=0.5, wavelength_um=520), r"520 µm was given: give the wavelength in µm"),
    ],
)
def test_an_impossible_objective_is_refused(knowing, optics, told):
    with pytest.raises(InputError, match=told):
        score(stack_of(-1, 0, 1, optics=optics), scorer="hhnet", specimen=False)
    assert not knowing


def test_exact_phases_are_fluorescence_s_and_other_objects_keep_theirs(sharp):
    """A phase object has contrast out of focus; a real transfer function would leave none."""

    def contrast(**given):
        plain = {"patch_px": 48, "tile_px": 64, "blank": 0, "haze": 0, "dirt": 0, "jpeg": 0, "electrons": (4.8, 4.8)}
        settings = HHSettings(**plain, modes=(0, 0, 1, 0), blur_px=(5.0, 7.0), **given)
        return AugmentedPatches(sharp, settings, batch=8, seed=4).draw().image.std(dim=(2, 3)).mean()

    assert float(contrast(layer=(1.2, 1.5))) == pytest.approx(float(contrast()), rel=0.5)


def stack_of(*indices, **given) -> Stack:
    data = np.stack([np.full((64, 128), round(100 + 20 * i), np.uint8) for i in indices])
    return Stack(data, "ZYX", name="told", **given)


@pytest.mark.usefixtures("knowing")
def test_a_slice_has_class_certainty_and_index():
    report = score(stack_of(-2, -1, 0, 1, 2), scorer="hhnet", specimen=False)
    assert report.extras["classes"] == [-2, -1, 0, 1, 2]
    np.testing.assert_allclose(report.extras["distance_index"], [-1.8, -0.9, 0, 0.9, 1.8], atol=0.01)
    assert all(0.5 < c <= 1 for c in report.extras["certainty"])
    assert report.layers["distance"].shape == report.maps.shape == report.layers["certainty"].shape
    assert report.decision.best == 2


@pytest.mark.usefixtures("knowing")
def test_the_index_goes_through_zero_between_the_slices():
    report = score(stack_of(-1.75, -0.75, 0.25, 1.25, z_um=2.0), scorer="hhnet", specimen=False)
    assert report.extras["crossing"] == pytest.approx(1.75, abs=0.02)
    assert report.extras["crossing_um"] == pytest.approx(3.5, abs=0.05)
    assert report.extras["direction"] == 1


@pytest.mark.usefixtures("knowing")
def test_a_microscope_with_reversed_sides_is_told():
    report = score(stack_of(1.75, 0.75, -0.25, -1.25, z_um=2.0), scorer="hhnet", specimen=False)
    assert report.extras["direction"] == -1
    assert report.extras["crossing"] == pytest.approx(1.75, abs=0.02)


@pytest.mark.usefixtures("knowing")
def test_a_stack_on_one_side_has_no_crossing():
    assert "crossing" not in score(stack_of(0.4, 1, 2), scorer="hhnet", specimen=False).extras


@pytest.mark.usefixtures("knowing")
def test_what_holds_nothing_is_no_evidence():
    report = score(stack_of(-1, -5, 1), scorer="hhnet", specimen=False)
    assert report.extras["classes"][1] is None
    assert report.extras["distance_index"][1] is None
    assert report.extras["certainty"][1] == pytest.approx(0, abs=1e-6)


@pytest.mark.usefixtures("knowing")
def test_a_region_votes_for_itself():
    from napari_focusstack.core.scoring import reweight

    data = stack_of(-1, 0, 1).data.copy()
    data[:, :, 64:] += 20  # the right half is one class farther
    report = score(Stack(data, "ZYX", name="halves"), scorer="hhnet", specimen=False)
    right = np.zeros((64, 128), bool)
    right[:, 64:] = True
    assert reweight(report, region=right).extras["classes"] == [0, 1, 2]
    assert reweight(report, region=~right).extras["classes"] == [-1, 0, 1]


def test_the_trained_network_scores_a_single_plane(networks):
    report = score(Stack(cells(0, size=320), "YX", name="one"), scorer="hhnet")
    assert report.layers["distance"].shape == (1, 1, 1)
    assert len(report.extras["certainty"]) == 1
    assert -3 <= float(report.layers["distance"].min()) <= float(report.layers["distance"].max()) <= 3
