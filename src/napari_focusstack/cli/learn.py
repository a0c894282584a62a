"""Commands about learning: simulate what networks learn from, train them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_focusstack.cli import options as opt
from napari_focusstack.cli.commands import app
from napari_focusstack.cli.show import number, print_json, run
from napari_focusstack.core.errors import InputError
from napari_focusstack.training.settings import SimulationSettings

if TYPE_CHECKING:
    from napari_focusstack.training.recipes import Trained

TRUTH = ("all_in_focus", "depth", "defocus", "in_focus")


SETTINGS: opt.Options = {
    name: (Annotated[field.annotation, typer.Option(help=field.description or "Chance.")], field.default)
    for name, field in SimulationSettings.model_fields.items()
}


@app.command()
@opt.with_options(SETTINGS)
def simulate(
    image: Annotated[Path, typer.Argument(help="A sharp image, in focus all over.", show_default=False)],
    output: Annotated[Path, typer.Option("--output", "-o", help="Stack to write (TIFF).", show_default=False)],
    truth: Annotated[
        Path | None,
        typer.Option(
            help="Folder for the truth: all-in-focus image, height in µm, defocus in µm, and in-focus masks.",
            show_default=False,
        ),
    ] = None,
    overwrite: opt.Overwrite = False,
    device: opt.Device = opt.DeviceName.AUTO,
    as_json: opt.Json = False,
    verbose: opt.Verbose = False,
    **settings: Any,
) -> None:
    """Turn a sharp image into a through-focus stack, by the physics of a microscope; its truth is known."""
    from pydantic import ValidationError

    from napari_focusstack.io.atomic import check_targets, make_folder
    from napari_focusstack.io.write import check_tiff_name, write_stack

    try:
        chosen = SimulationSettings(**settings)
    except ValidationError as error:
        wrong = error.errors()[0]
        raise InputError(f"--{str(wrong['loc'][0]).replace('_', '-')} {wrong['input']}: {wrong['msg']}.") from error
    outputs = [check_tiff_name(output)]
    if truth is not None:
        make_folder(truth)
        outputs += [_truth_file(truth, name) for name in TRUTH]
    check_targets(outputs, overwrite=overwrite, sources=(image,))
    plane = _plane(image)

    from napari_focusstack.training.simulate import simulation

    made = run(simulation(plane, chosen), verbose=verbose)
    said = {"Simulated from": image.name} | {k: str(v) for k, v in chosen.model_dump().items()}
    written = {"output": write_stack(output, made.stack, provenance=said, overwrite=overwrite)}
    if truth is not None:
        written |= _write_truth(truth, made, overwrite=overwrite)
    if as_json:
        print_json({**written, "slices": made.stack.n_slices, "depth_of_field_um": made.microscope.depth_of_field_um})
        return
    print(
        f"{made.stack.n_slices} slices, {number(chosen.z_um, ' µm')} apart, "
        f"depth of field {number(made.microscope.depth_of_field_um, ' µm')}"
    )
    for path in written.values():
        print(f"wrote {path}")


def _plane(path: Path) -> Any:
    from napari_focusstack.io.read import read_stack

    image = read_stack(path)
    if set(image.axes) - set("YXS"):
        raise InputError(f"'{image.name}' holds several planes (axes {image.axes}): give one sharp image.")
    return image.plane()


def _assigned(given: Sequence[str]) -> dict[str, str]:
    """Split NAME=VALUE into its two parts."""
    for text in given:
        if "=" not in text:
            raise InputError(f"--set {text}: give a name and a value, such as --set blur=synthetic.")
    return dict(text.split("=", 1) for text in given)


def _truth_file(folder: Path, name: str) -> Path:
    return folder / f"{name}.ome.tif"


def _write_truth(folder: Path, made: Any, *, overwrite: bool) -> dict[str, Path]:
    """Write what is known of a simulated stack, each as TIFF."""
    import dataclasses

    import numpy as np

    from napari_focusstack.io.write import write_stack

    arrays = {
        "all_in_focus": made.all_in_focus,
        "depth": made.depth_um,
        "defocus": made.defocus_um,
        "in_focus": made.in_focus.astype(np.uint8),
    }
    written = {}
    for name in TRUTH:
        data = arrays[name]
        colour = name == "all_in_focus" and data.ndim == 3
        axes = "YXS" if colour else "ZYX"[-data.ndim :]
        if colour:  # RGB of floats is opened by few viewers
            data = np.round(np.clip(data, 0, 1) * 255).astype(np.uint8)
        z_um = made.stack.z_um if "Z" in axes else None
        part = dataclasses.replace(made.stack, data=data, axes=axes, z_um=z_um, name=name, metadata={})
        written[name] = write_stack(_truth_file(folder, name), part, overwrite=overwrite)
    return written


@app.command()
def train(
    recipe: Annotated[str, typer.Argument(help="What to train; 'list' names the recipes.", show_default=False)],
    images: Annotated[
        Path | None,
        typer.Option(help="Folder of sharp images; its sub-folders are the sources.", show_default=False),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder for checkpoint, log and loss curve.", show_default=False),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Name of the model, which then stands beside the others.", show_default=False)
    ] = None,
    source: Annotated[
        list[str] | None, typer.Option(help="Sub-folder to train on (repeat for more); all where not given.")
    ] = None,
    tiny: Annotated[bool, typer.Option("--tiny", help="A training of seconds, to see that it works.")] = False,
    epochs: Annotated[int | None, typer.Option(min=1, help="Epochs in the recipe's place.", show_default=False)] = None,
    seed: Annotated[int, typer.Option(min=0, help="Chance.")] = 0,
    width: Annotated[
        float | None, typer.Option(min=0.05, help="Width of the network; 1 is the paper's.", show_default=False)
    ] = None,
    imagenet: Annotated[
        Path | None,
        typer.Option(help="torchvision's VGG16 weights (.pth), to start gmanet_paper from.", show_default=False),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--from",
            help="A network of this architecture (name or folder) to go on from, at half the learning rate.",
            show_default=False,
        ),
    ] = None,
    change: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="Another setting of the data it learns from, NAME=VALUE (repeat for more), such as blur=synthetic; "
            "a model's card lists them.",
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a model of yours that is there.")] = False,
    device: opt.Device = opt.DeviceName.AUTO,
    as_json: opt.Json = False,
    verbose: opt.Verbose = False,
) -> None:
    """Train a network on sharp images, which are defocused by simulation on the way."""
    if recipe == "list":
        _list_recipes(as_json=as_json)
        return
    from napari_focusstack.core.devices import choose_device
    from napari_focusstack.training.recipes import RECIPES, TINY, save_trained, varied
    from napari_focusstack.training.recipes import train as train_job

    chosen = varied(RECIPES[recipe], _assigned(change or []))
    if images is None or output is None:
        raise InputError(f"To train '{recipe}', give --images FOLDER (sharp images) and --output FOLDER.")
    if not images.is_dir():
        raise InputError(f"'{images}' is no folder: give the folder that holds the sharp images.")
    if name is not None:
        _check_name(name, overwrite=overwrite)
    settings = (TINY if tiny else chosen.fit).model_copy(update={"seed": seed} | ({"epochs": epochs} if epochs else {}))
    job = train_job(
        chosen,
        images,
        folder=output,
        sources=source or None,
        settings=settings,
        width=width,
        limit=8 if tiny else None,
        device=choose_device(device.value),
        imagenet=imagenet,
        model=model,
    )
    trained = run(job, verbose=verbose)
    saved = None if name is None else save_trained(trained, chosen, name=name)
    _tell_trained(trained, recipe, output, saved, as_json=as_json)


def _list_recipes(*, as_json: bool) -> None:
    from napari_focusstack.training.recipes import RECIPES

    found = [{"name": r.name, "title": r.title, "paper": r.paper} for r in RECIPES]
    if as_json:
        print_json({"recipes": found})
        return
    for one in found:
        print(f"{one['name']:<20} {one['title']}; {one['paper']}")


def _check_name(name: str, *, overwrite: bool) -> None:
    """Refuse what can't be a model's name, or is one already, before hours of training."""
    from napari_focusstack.networks.zoo import CARD, ModelError, check_name, user_folder

    try:
        check_name(name)
    except ModelError as error:
        raise InputError(str(error)) from error
    folder = user_folder() / name
    if (folder / CARD).exists() and not overwrite:
        raise InputError(f"'{folder}' holds a model already: give another --name, or --overwrite.")


def _tell_trained(trained: Trained, recipe: str, output: Path, saved: Path | None, *, as_json: bool) -> None:
    """Print how a training went, and what it wrote."""
    best = trained.fitted.history[trained.fitted.best_epoch - 1]
    result = {
        "recipe": recipe,
        "epochs": len(trained.fitted.history),
        "best_epoch": best.epoch,
        "valid_loss": best.valid_loss,
        "metrics": dict(best.metrics),
        "seconds": trained.fitted.seconds,
        "output": output,
        "model": saved,
    }
    if as_json:
        print_json(result)
        return
    print(f"{recipe}: {result['epochs']} epochs, best {best.epoch}, validation loss {best.valid_loss:.4f}")
    hint = "; the same command with --name makes a model of it"
    print(f"wrote {output}" + (hint if saved is None else f" and the model {saved}"))
