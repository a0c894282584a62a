"""Results of the Fuse widget to files: exports and recipes."""

from __future__ import annotations

import dataclasses
import json
import weakref

import numpy as np
import pytest
from napari.components import ViewerModel

from fuse_scenes import (
    ALL_PARTS,
    channels_of_two,
    fuse,
    fused_from_a_file,
    named,
    open_in,
    scene,
)
from napari_focusstack.core.errors import InputError
from napari_focusstack.core.pipeline import fuse_job
from napari_focusstack.core.progress import drain
from napari_focusstack.core.settings import FuseSettings
from napari_focusstack.core.stack import Stack
from napari_focusstack.widgets.export import ExportJob, final_paths, part_path, propose_path
from napari_focusstack.widgets.fuse_channels import source_of
from napari_focusstack.widgets.fuse_results import recipe
from napari_focusstack.widgets.fuse_run import FuseJob, FuseResult


@pytest.fixture
def model() -> ViewerModel:
    return ViewerModel()


@pytest.fixture
def two_channels() -> Stack:
    return channels_of_two()


@pytest.fixture
def result(model, tmp_path) -> FuseResult:
    return fused_from_a_file(model, tmp_path)


def test_the_proposal_lies_beside_the_source_under_another_name(result, tmp_path):
    assert propose_path(result) == tmp_path / "A01 für Öl_fused.ome.tif"


def test_parts_are_named_after_the_fused_image(tmp_path):
    assert part_path(tmp_path / "A.b_fused.ome.tif", "index").name == "A.b_index.ome.tif"
    assert part_path(tmp_path / "mine.tif", "depth").name == "mine_height.tif"


def test_an_export_has_scale_method_and_the_source_s_hash(result, tmp_path):
    from napari_focusstack.io.provenance import read_provenance
    from napari_focusstack.io.read import read_stack

    job = ExportJob(result, propose_path(result), parts=ALL_PARTS, overwrite=False)
    paths = drain(job())
    assert len(paths) == 4
    again = read_stack(paths[0])
    assert (again.y_um, again.x_um) == pytest.approx((0.5, 0.25))
    assert np.array_equal(again.plane(), result.fused.image)
    said = read_provenance(paths[0])
    assert said["Method"] == "pyramid"
    assert len(said["Source SHA-256"]) == 64


def test_an_export_that_is_given_up_leaves_nothing(result, tmp_path):
    there = sorted(tmp_path.iterdir())
    target = propose_path(result)
    job = ExportJob(result, target, parts=ALL_PARTS, overwrite=False)
    steps = sum(1 for _ in job())
    for path in set(tmp_path.iterdir()) - set(there):
        path.unlink()
    for n in range(1, steps + 1):
        given_up = job()
        for _ in range(n):
            next(given_up)
        given_up.close()
        assert sorted(tmp_path.iterdir()) == there


def test_several_positions_are_said_checked_and_written_under_the_same_names(model, tmp_path):
    (layer,) = open_in(model, named(np.stack([scene(), scene()]), axes="PZYX"))
    result = drain(FuseJob(source_of([layer]), FuseSettings(), times=(0,), positions=(0, 1))())
    target = tmp_path / "A01_fused.ome.tif"
    said = final_paths(result, target, ALL_PARTS)
    assert said[0].name == "A01_fused_p0.ome.tif"
    assert sorted(drain(ExportJob(result, target, parts=ALL_PARTS, overwrite=False)())) == sorted(said)
    with pytest.raises(InputError, match="exists already"):
        drain(ExportJob(result, target, parts=ALL_PARTS, overwrite=False)())


def test_a_long_series_is_not_held_twice(model, monkeypatch):
    import napari_focusstack.core.pipeline as pipeline

    (layer,) = open_in(model, named(np.stack([scene()] * 4), axes="TZYX"))
    whole, before, alive = pipeline.fuse_job, [], []

    def watched(*args: object, **kwargs: object):
        alive.append(sum(ref() is not None for ref in before))
        fused = yield from whole(*args, **kwargs)
        before.append(weakref.ref(fused))
        return fused

    monkeypatch.setattr(pipeline, "fuse_job", watched)
    result = fuse(layer, times=(0, 1, 2, 3))
    assert alive == [0, 0, 0, 0]
    monkeypatch.undo()
    assert np.array_equal(result.fused.index[2], fuse(layer, times=(2,)).fused.index[0])


def test_the_recipe_is_the_settings(result):
    assert FuseSettings(**json.loads(recipe(result))) == result.settings


def test_the_recipe_names_the_channel(model, two_channels):
    assert json.loads(recipe(fuse(*open_in(model, two_channels), drive=1)))["drive"] == "GFP"


@pytest.mark.parametrize("names", [(), ("GFP", "GFP")])
def test_the_recipe_counts_channels_that_the_file_does_not_tell_apart(model, two_channels, names):
    stack = dataclasses.replace(two_channels, channels=names)
    written = json.loads(recipe(fuse(*open_in(model, stack), drive=1, method="select")))
    assert written["drive"] == 1
    again = drain(fuse_job(stack, FuseSettings(**written)))
    assert np.array_equal(again.index, fuse(*model.layers, drive=1, method="select").fused.index)


@pytest.mark.parametrize("names", [(), ("DAPI", "GFP")])
def test_the_recipe_of_a_channel_alone_fuses_that_channel_alone(model, two_channels, names):
    stack = dataclasses.replace(two_channels, channels=names)
    second = open_in(model, stack)[1]
    source = source_of([second], model.layers)
    result = drain(FuseJob(source, FuseSettings(method="select"), times=(0,), positions=(0,))())
    again = drain(fuse_job(stack, FuseSettings(**json.loads(recipe(result)))))
    assert np.array_equal(again.image, result.fused.image)


def test_one_channel_and_one_that_drives_all_contradict_each_other(two_channels):
    with pytest.raises(InputError, match="give channel to fuse one"):
        drain(fuse_job(two_channels, FuseSettings(channel=0, drive=1)))


def test_channels_without_names_count_from_0(model, two_channels):
    layers = open_in(model, dataclasses.replace(two_channels, channels=()))
    assert [layer.name for layer in layers] == ["A01 channel 0", "A01 channel 1"]
