"""Commands about trained networks: list them, show one, export it, write a copy to give away."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from napari_focusstack.cli import options as opt
from napari_focusstack.cli.commands import app
from napari_focusstack.cli.show import number, print_json
from napari_focusstack.core.errors import InputError


@app.command()
def models(
    name: Annotated[str | None, typer.Argument(help="One of them, to show or export.", show_default=False)] = None,
    onnx: Annotated[
        Path | None,
        typer.Option(help="Write it as ONNX (.onnx), its preprocessing included.", show_default=False),
    ] = None,
    bioimageio: Annotated[
        Path | None, typer.Option(help="Write it as a BioImage.IO package (.zip).", show_default=False)
    ] = None,
    overwrite: opt.Overwrite = False,
    device: opt.Device = opt.DeviceName.AUTO,
    as_json: opt.Json = False,
    verbose: opt.Verbose = False,
) -> None:
    """List the trained networks, the bundled ones and your own; show one, or export it for other programs."""
    from napari_focusstack.networks.zoo import ModelError, find_model, find_models

    if name is None:
        if onnx is not None or bioimageio is not None:
            raise InputError("No model was named: give the name of the one to export ('focusstack models' lists them).")
        _list_models([_card(folder) for folder in find_models().values()], as_json, verbose)
        return
    try:
        card = _card(find_model(name))
    except ModelError as error:
        raise InputError(str(error)) from error
    written = _export(name, onnx, bioimageio, overwrite=overwrite)
    if as_json:
        print_json(card | written)
    elif written:
        for path in written.values():
            print(f"wrote {path}")
    else:
        _list_models([card], as_json, True)


def _export(name: str, onnx: Path | None, bioimageio: Path | None, *, overwrite: bool) -> dict[str, Path]:
    """Write a model for other programs; the files by their kind."""
    from napari_focusstack.io.atomic import check_targets

    check_targets([path for path in (onnx, bioimageio) if path is not None], overwrite=overwrite)
    written = {}
    if onnx is not None:
        from napari_focusstack.io.bioimage import export_onnx

        written["onnx"] = export_onnx(name, onnx, overwrite=overwrite)
    if bioimageio is not None:
        from napari_focusstack.io.bioimage import export_package

        written["bioimageio"] = export_package(name, bioimageio, overwrite=overwrite)
    return written


def _card(folder: Path) -> dict[str, Any]:
    from napari_focusstack.networks.zoo import BUNDLED, ModelError, read_card

    try:
        card = read_card(folder)
    except ModelError as error:
        raise InputError(str(error)) from error
    return card.model_dump() | {"name": folder.name, "folder": folder, "bundled": folder.parent == BUNDLED}


def _list_models(cards: list[dict[str, Any]], as_json: bool, verbose: bool) -> None:
    if as_json:
        print_json({"models": cards})
        return
    if not cards:
        print("no model is installed")
    for card in cards:
        if verbose:
            _print_card(card)
        else:
            print(f"{card['name']:<16} {'bundled' if card['bundled'] else 'yours':<8} {card['title']}: {card['task']}")


def _print_card(card: dict[str, Any]) -> None:
    """Print a card for people: what is told by a mapping a line each, long lines folded."""
    training, (height, width) = card["training"], card["input_px"]
    print(f"{card['name']}: {card['title']} ({'bundled' if card['bundled'] else 'yours'})")
    told: dict[str, Any] = {
        "answers": card["task"],
        "paper": card["paper"],
        "judges": f"{height}×{width} px, {'grey' if card['input_channels'] == 1 else 'colour'}",
        "normalisation": card["normalisation"],
        "outputs": card["outputs"],
        "rule": ", ".join(f"{k} {number(v)}" for k, v in card["decision"].items()),
        "trained on": card["training_data"],
        "training": ", ".join(_course(training)),
        "accuracy": card["accuracy"] or "not measured",
        "licence": card["licence"],
        "folder": str(card["folder"]),
    }
    for name, value in told.items():
        if value:
            _print_told(name, value, indent=2)
    print()


def _course(training: Mapping[str, Any]) -> Iterator[str]:
    """What a training was, in words; a card written by hand may leave any of it out."""
    for key, text in (
        ("recipe", "recipe {}"),
        ("width", "width {}"),
        ("epochs", "{} epochs"),
        ("best_epoch", "the best {}"),
        ("samples", "{} samples"),
        ("machine", "on {}"),
    ):
        if key in training:
            yield text.format(training[key])
    if "seconds" in training:
        yield f"{training['seconds'] / 60:.0f} min"


def _print_told(name: str, value: Any, *, indent: int) -> None:
    if isinstance(value, Mapping):
        print(f"{' ' * indent}{name}")
        for key, part in value.items():
            _print_told(key, part, indent=indent + 2)
        return
    columns = min(100, shutil.get_terminal_size((100, 24)).columns)
    label = f"{' ' * indent}{name}: " if indent > 2 else f"  {name:<15}"
    text = number(value) if isinstance(value, float) else str(value)
    hang = " " * (len(label) if indent == 2 else indent + 4)
    print(textwrap.fill(text, max(40, columns), initial_indent=label, subsequent_indent=hang))


@app.command()
def bundle(
    name: Annotated[str, typer.Argument(help="A trained network, by name or as its folder.", show_default=False)],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder of models, in which it gets one.", show_default=False)
    ],
    called: Annotated[
        str | None, typer.Option("--as", help="Name of the copy.", show_default="the network's own")
    ] = None,
    half: Annotated[
        bool, typer.Option("--half", help="Store 16 bit weights, half the size; otherwise 32 bit.")
    ] = False,
    licence: Annotated[
        list[str] | None,
        typer.Option(metavar="SOURCE=TEXT", help="Licence and origin of a training folder (repeat for more)."),
    ] = None,
    accuracy: Annotated[
        Path | None,
        typer.Option(help="JSON object of what was measured; joins what the card says.", show_default=False),
    ] = None,
    decision: Annotated[
        Path | None,
        typer.Option(help="JSON object of the card's rule for yes or no, in place of its own.", show_default=False),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a model that is there.")] = False,
    as_json: opt.Json = False,
    verbose: opt.Verbose = False,
) -> None:
    """Write a copy of a trained network to give away, with licences and accuracy told in its card."""
    from napari_focusstack.networks.zoo import CARD, ModelError, copy_model, find_model

    licences = dict(_licence(text) for text in licence or [])
    given = "a JSON object of what was measured, with a name for each number"
    measured = {} if accuracy is None else opt.json_object(accuracy, kind="table of accuracy", give=given)
    given = "a JSON object with a number for each name in the card's rule"
    rule = None if decision is None else opt.json_object(decision, kind="rule", give=given)
    try:
        target = output / (called or _card(find_model(name))["name"])
        if (target / CARD).exists() and not overwrite:
            raise InputError(f"'{target}' holds a model already: give another name (--as), or --overwrite.")
        card = copy_model(name, target, half=half, licences=licences, accuracy=measured, decision=rule)
    except ModelError as error:
        raise InputError(str(error)) from error
    except OSError as error:
        raise InputError(f"'{output}' can't be written to ({error.strerror}): choose another folder.") from error
    if as_json:
        print_json({"model": target, "card": card.model_dump()})
        return
    for source, told in card.training_data.items():
        print(f"{source}: {told}")
    print(f"wrote {target}")


def _licence(text: str) -> tuple[str, str]:
    source, _, told = text.partition("=")
    if not source.strip() or not told.strip():
        raise InputError(
            f"'{text}' names no licence: give the training folder and its licence, like cells='CC0, Jones'."
        )
    return source.strip(), told.strip()
