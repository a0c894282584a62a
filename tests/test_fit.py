"""The training loop, on real tiny trainings."""

import csv

import imageio.v3 as iio
import pytest
import torch

from napari_focusstack.core.devices import choose_device
from napari_focusstack.core.errors import InputError
from napari_focusstack.core.progress import drain
from napari_focusstack.training.fit import EpochRecord, FitSettings, Task, fit
from napari_focusstack.training.recipes import RECIPES, TINY, train
from test_patches import cells


@pytest.fixture(scope="module")
def sharp_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sharp")
    for i in range(4):
        iio.imwrite(folder / f"{i}.png", cells(i))
    return folder


def run(folder, out, *, recipe="mmdf", **changes):
    settings = TINY.model_copy(update=changes)
    records = []
    job = train(RECIPES[recipe], folder, folder=out, settings=settings, width=0.1)
    trained = drain(job, lambda p: records.append(p.partial) if isinstance(p.partial, EpochRecord) else None)
    return trained, records


def weights(network):
    return torch.cat([p.detach().flatten() for p in network.parameters()])


@pytest.mark.parametrize("recipe", ["mmdf", "mmdf_cross_entropy", "ldsenet"])
def test_a_tiny_training_reports_every_epoch_and_keeps_the_best(recipe, sharp_folder, tmp_path):
    trained, records = run(sharp_folder, tmp_path, recipe=recipe, epochs=3, steps=8, learning_rate=2e-3)
    assert [r.epoch for r in records] == [1, 2, 3]
    assert trained.fitted.samples == 3 * 8 * 16
    assert trained.fitted.best_epoch == min(records, key=lambda r: r.valid_loss).epoch
    assert all(torch.isfinite(p).all() for p in trained.network.parameters())
    assert not trained.network.training


def test_the_same_seed_gives_the_same_network_and_another_another(sharp_folder, tmp_path):
    a, b, c = (
        run(sharp_folder, tmp_path / name, seed=seed, epochs=1, steps=3)[0]
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    assert torch.equal(weights(a.network), weights(b.network))
    assert not torch.equal(weights(a.network), weights(c.network))


def test_a_resumed_training_ends_as_one_never_stopped(sharp_folder, tmp_path):
    whole, _ = run(sharp_folder, tmp_path / "whole", epochs=2, steps=3)
    job = train(
        RECIPES["mmdf"],
        sharp_folder,
        folder=tmp_path / "cut",
        settings=TINY.model_copy(update={"epochs": 2, "steps": 3}),
        width=0.1,
    )
    for step in job:
        if isinstance(step.partial, EpochRecord):
            break
    job.close()
    resumed, records = run(sharp_folder, tmp_path / "cut", epochs=2, steps=3)
    assert [r.epoch for r in records] == [2]
    assert torch.allclose(weights(whole.network), weights(resumed.network), atol=1e-6)


def test_a_checkpoint_of_other_settings_is_refused(sharp_folder, tmp_path):
    run(sharp_folder, tmp_path, epochs=1, steps=2)
    with pytest.raises(InputError, match="another training"):
        run(sharp_folder, tmp_path, epochs=1, steps=3)


def test_a_network_learns_what_there_is_to_learn(tmp_path):
    """Dark patches against bright ones: the loop has to solve it in a few steps."""
    generator = torch.Generator().manual_seed(0)

    def batches(seed):
        while True:
            label = torch.randint(0, 2, (32,), generator=generator)
            yield label[:, None] + 0.1 * torch.randn((32, 4), generator=generator), label

    network = torch.nn.Linear(4, 2)
    task = Task(
        batches,
        batches,
        lambda n, b, device: torch.nn.functional.cross_entropy(n(b[0]), b[1]),
        lambda n, b, device: {"accuracy": float((n(b[0][0]).argmax(dim=1) == b[0][1]).float().mean())},
    )
    settings = FitSettings(epochs=4, steps=40, batch=32, valid_steps=1, learning_rate=0.05)
    fitted = drain(fit(network, task, settings, folder=tmp_path, device=torch.device("cpu")))
    losses = [r.valid_loss for r in fitted.history]
    assert losses == sorted(losses, reverse=True)
    assert fitted.history[-1].metrics["accuracy"] == 1.0


def test_log_and_curve_are_written(sharp_folder, tmp_path):
    _, records = run(sharp_folder, tmp_path, epochs=2, steps=2)
    rows = list(csv.DictReader((tmp_path / "log.csv").read_text().splitlines()))
    assert [float(r["valid_loss"]) for r in rows] == pytest.approx([r.valid_loss for r in records], rel=1e-4)
    assert "accuracy" in rows[0]
    assert iio.imread(tmp_path / "loss.png").std() > 0


def test_it_stops_when_the_validation_no_longer_falls(sharp_folder, tmp_path):
    trained, records = run(sharp_folder, tmp_path, epochs=30, steps=1, patience=1, learning_rate=1e-12)
    assert len(records) < 30
    assert trained.fitted.best_epoch == min(records, key=lambda r: r.valid_loss).epoch


def test_a_single_image_is_refused(tmp_path):
    iio.imwrite(tmp_path / "only.png", cells(0))
    with pytest.raises(InputError, match="two at least"):
        run(tmp_path, tmp_path / "out")


def test_a_device_that_is_not_there_is_named():
    with pytest.raises(InputError, match="no device 'tpu'"):
        choose_device("tpu")
    assert choose_device("cpu").type == "cpu"


def test_settings_refuse_what_they_do_not_know():
    with pytest.raises(ValueError, match="extra"):
        FitSettings(epoch=3)


def test_a_plateau_takes_a_tenth_of_the_rate_after_three_epochs_that_did_not_help(tmp_path):
    network, held = torch.nn.Linear(1, 1), iter([5.0, 4.0, 4.5, 4.5, 4.5, 3.0, 2.0])
    nothing = torch.zeros(1, 1)
    task = Task(
        lambda seed: iter(lambda: nothing, None),
        lambda seed: iter(lambda: nothing, None),
        lambda n, batch, device: n(batch).sum() * 0 + (1.0 if n.training else next(held)),
        lambda n, batches, device: {},
    )
    settings = FitSettings(
        epochs=7, steps=1, batch=1, valid_steps=1, optimiser="sgd", schedule="plateau", learning_rate=0.1, patience=9
    )
    records = []
    drain(
        fit(network, task, settings, folder=tmp_path, device=torch.device("cpu")),
        lambda p: records.append(p.partial) if p.partial else None,
    )
    assert [round(r.learning_rate, 6) for r in records] == [0.1] * 5 + [0.01] * 2


def test_a_training_by_plateau_may_be_made_longer(sharp_folder, tmp_path):
    changes = {"steps": 2, "schedule": "plateau", "optimiser": "sgd"}
    run(sharp_folder, tmp_path, epochs=1, **changes)
    longer, records = run(sharp_folder, tmp_path, epochs=2, **changes)
    assert [r.epoch for r in records] == [2]
    assert len(longer.fitted.history) == 2
