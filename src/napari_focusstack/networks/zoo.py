"""The zoo: trained weights by name. A model is a folder ``NAME/`` with ``card.json`` beside ``weights.safetensors``.

Bundled models lie in the package, users' own in their data folder (``FOCUSSTACK_MODELS`` overrides where). A user's
model of a bundled one's name takes its place.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import logging
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

log = logging.getLogger(__name__)

CARD, WEIGHTS = "card.json", "weights.safetensors"
NAME = r"^[a-z0-9][a-z0-9_.-]*$"
BUNDLED = Path(__file__).parent / "weights"
ARCHITECTURES = {
    "mmdf": "mmdf:FocusClassifier",
    "ldsenet": "ldsenet:ldsenet",
    "resnet50": "ldsenet:resnet50",
    "botnet": "ldsenet:botnet",
    "gmanet": "gmanet:GMANet",
    "twostream_iqa": "iqa:TwostreamIQA",
    "wadiqam": "iqa:WaDIQaM",
    "deblur_unet": "deblur:UNet",
    "ifcnn": "ifcnn:IFCNN",
    "fusegan": "fusegan:FuseGenerator",
    "deblur_srcnn": "deblur:SRCNN",
    "deblur_autoencoder": "deblur:DenoisingAutoencoder",
    "deblur_stacked": "deblur:StackedAutoencoder",
    "deblur_coupled": "deblur:CoupledAutoencoder",
    "deblurgan": "deblur:deblurgan",
    "deblurgan_upgraded": "deblur:deblurgan_upgraded",
    "fusion_cnn": "fusion_cnn:FusionCnn",
    "decision_unet": "decision_unet:DecisionUNet",
    "hhnet": "hhnet:hhnet",
    "msegnet": "msegnet:msegnet",
    "segnet": "msegnet:segnet",
    "unet_mask": "msegnet:unet_mask",
    "brisque": "blind:Brisque",
    "cnniqa": "blind:CNNIQA",
}
"""Module of this folder and builder, by the name that cards use; imported late, since listing models loads no torch."""


class ModelError(ValueError):
    """A model can't be used; its text says what was given, what is needed and what to do."""


class ModelCard(BaseModel):
    """What there is to know of a model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=NAME, description="By which it is chosen.")
    title: str
    task: str = Field(description="What it answers, in a sentence.")
    paper: str = Field(description="Whose architecture it is.")
    architecture: str = Field(description="Name in `ARCHITECTURES`.")
    arguments: dict[str, Any] = Field(default_factory=dict, description="Keyword arguments of the architecture.")
    input_px: tuple[int, int] = Field(description="Height and width of what it judges.")
    input_channels: int = Field(default=1, description="1: grey (mean of the colours); 3: RGB.")
    normalisation: str = Field(description="What is done to the grey values first.")
    outputs: str = Field(description="What the numbers mean, with units and range.")
    decision: dict[str, float] = Field(
        default_factory=dict, description="Rule that turns the outputs into a yes or no, from validation images."
    )
    training_data: dict[str, str] = Field(default_factory=dict, description="Folder → licence and source.")
    training: dict[str, Any] = Field(default_factory=dict, description="Recipe, settings, duration, machine, versions.")
    accuracy: dict[str, Any] = Field(default_factory=dict, description="Measured on sources absent from training.")
    caution: str = Field(default="", description="What everyone has to know who sees what it says, in sentences.")
    licence: str = "BSD-3-Clause"
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="Of weights.safetensors.")


def user_folder() -> Path:
    """Where the user's own models lie."""
    given = os.environ.get("FOCUSSTACK_MODELS")
    if given:
        return Path(given)
    from platformdirs import user_data_path

    return user_data_path("napari-focusstack") / "models"


def check_name(name: str) -> str:
    """The name, if a model can bear it.

    Raises
    ------
    ModelError
        If it can't.
    """
    if re.match(NAME, name) is None:
        raise ModelError(f"'{name}' is no name of a model: give small letters, digits, '_', '-' and '.' alone.")
    return name


def find_models() -> Mapping[str, Path]:
    """Folders of all models by name: bundled ones first, then the user's. No weights are read."""
    found: dict[str, Path] = {}
    for root in (BUNDLED, user_folder()):
        if root.is_dir():
            found.update({p.parent.name: p.parent for p in sorted(root.glob(f"*/{CARD}"))})
    return found


def installed_cards() -> tuple[tuple[ModelCard, Path], ...]:
    """Cards and folders of all models that there are now; those with a damaged card are told of in the log.

    It is the same object until a model comes, goes or is trained anew, so that lists can tell whether they are old.
    """
    return _cards(tuple((name, folder, _stamp(folder / CARD)) for name, folder in find_models().items()))


@lru_cache(maxsize=1)
def _cards(found: tuple[tuple[str, Path, tuple[int, ...]], ...]) -> tuple[tuple[ModelCard, Path], ...]:
    cards = []
    for name, folder, _ in found:
        try:
            card = read_card(folder)
        except ModelError as error:
            log.warning("%s", error)
            continue
        if card.name == name:
            cards.append((card, folder))
        else:
            log.warning("The model in '%s' calls itself '%s': it is left out.", folder / CARD, card.name)
    return tuple(cards)


def _stamp(path: Path) -> tuple[int, ...]:
    """By which a file that was written anew is told; nothing where it is gone by now."""
    try:
        state = path.stat()
    except OSError:
        return ()
    return state.st_mtime_ns, state.st_size, state.st_ino


def find_model(name: str) -> Path:
    """Folder of a model, given by its name or as the folder itself.

    Raises
    ------
    ModelError
        If there is none of that name.
    """
    models = find_models()
    if name in models:
        return models[name]
    if (Path(name) / CARD).is_file():
        return Path(name)
    near = near_names(name, models)
    if name in ARCHITECTURES:
        advice = how_to_install(name)
    elif near:
        advice = f"did you mean {' or '.join(near)}?"
    else:
        known = f"choose one of {', '.join(models)}, or give" if models else "none is installed: give"
        advice = f"{known} a folder that holds {CARD}."
    raise ModelError(f"There is no model '{name}': {advice}")


def near_names(name: str, known: Iterable[str]) -> list[str]:
    """The names that someone may have meant, the likeliest first."""
    return difflib.get_close_matches(name, list(known), n=3)


def how_to_install(name: str, near: Sequence[str] = ()) -> str:
    """What to do where a network is known but none of its name is installed; `near` can be had at once."""
    instead = f", or choose {' or '.join(near)}" if near else ""
    return (
        f"no network of that name is installed; train it (focusstack train {name} --name {name} …) or put its folder "
        f"into '{user_folder()}'{instead}."
    )


def read_card(folder: Path) -> ModelCard:
    """Read a model's card.

    Raises
    ------
    ModelError
        If it is missing or not valid.
    """
    path = folder / CARD
    try:
        return ModelCard.model_validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(f"'{folder}' holds no {CARD}: give the folder of a model.") from None
    except (ValidationError, UnicodeDecodeError) as error:
        where = (
            "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
            if isinstance(error, ValidationError)
            else str(error)
        )
        raise ModelError(f"The model card '{path}' is not valid ({where}): train or copy the model anew.") from None


def load_model(name: str) -> tuple[Any, ModelCard]:
    """Build a model and load its weights, after comparing their checksum with the card's.

    Parameters
    ----------
    name : str
        Name or folder.

    Returns
    -------
    network : torch.nn.Module
        In evaluation mode, float32, on the CPU.
    card : ModelCard

    Raises
    ------
    ModelError
        If it can't be found, is damaged, or belongs to an architecture that is not known.
    """
    from safetensors.torch import load as read_safetensors

    folder = find_model(name)
    card = read_card(folder)
    if card.architecture not in ARCHITECTURES:
        raise ModelError(
            f"The model '{card.name}' is a '{card.architecture}', which this version does not know "
            f"({', '.join(ARCHITECTURES)}): update napari-focusstack."
        )
    try:
        content = (folder / WEIGHTS).read_bytes()
    except FileNotFoundError:
        raise ModelError(
            f"The weights of '{card.name}' are missing ('{folder / WEIGHTS}'): copy the model anew."
        ) from None
    if hashlib.sha256(content).hexdigest() != card.sha256:
        raise ModelError(
            f"The weights of '{card.name}' are not the ones that its card describes (sha256 differs): "
            "copy or install the model anew."
        )
    module, builder = ARCHITECTURES[card.architecture].split(":")
    network = getattr(import_module(f"{__package__}.{module}"), builder)(**card.arguments)
    state = {k: v.float() if v.is_floating_point() else v for k, v in read_safetensors(content).items()}
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise ModelError(f"The weights of '{card.name}' do not fit its architecture: {error}") from None
    return network.eval(), card


def save_model(network: Any, card: Mapping[str, Any], folder: Path, *, half: bool = False) -> ModelCard:
    """Write a model's folder; the checksum is added to the card.

    Parameters
    ----------
    network : torch.nn.Module
        What to save.
    card : mapping
        Fields of `ModelCard` but for ``sha256``.
    folder : Path
        To write to; its last part should be the model's name.
    half : bool
        Store 16 bit weights; they are computed with in 32 bit all the same.
    """
    import torch
    from safetensors.torch import save as write_safetensors

    state = {
        k: (v.half() if half and v.dtype == torch.float32 else v).contiguous().cpu()
        for k, v in network.state_dict().items()
    }
    content = write_safetensors(state)
    full = ModelCard(**card, sha256=hashlib.sha256(content).hexdigest())
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in ((WEIGHTS, content), (CARD, (json.dumps(full.model_dump(), indent=2) + "\n").encode())):
        beside = folder / f"{name}.part"
        beside.write_bytes(data)
        beside.replace(folder / name)
    return full


def copy_model(
    name: str,
    folder: Path,
    *,
    half: bool = False,
    licences: Mapping[str, str] | None = None,
    accuracy: Mapping[str, Any] | None = None,
    decision: Mapping[str, Any] | None = None,
) -> ModelCard:
    """Write a model into another folder, which names it, and tell in its card what was not known at its training.

    Parameters
    ----------
    name : str
        Name or folder of the model.
    folder : Path
        To write to.
    half : bool
        Store 16 bit weights.
    licences : mapping of str to str, optional
        Licence and origin, by folder of training images.
    accuracy : mapping, optional
        Measured on sources absent from training; joins what the card says.
    decision : mapping, optional
        A rule of the same numbers, in place of the card's.

    Raises
    ------
    ModelError
        If the model can't be used, the folder is no name for one, it was not trained on a folder that a licence is
        given for, or its rule has other numbers.
    """
    check_name(folder.name)
    network, card = load_model(name)
    data = dict(card.training_data)
    for source, licence in (licences or {}).items():
        if source not in data:
            raise ModelError(
                f"'{card.name}' was not trained on '{source}' ({', '.join(data) or 'its card names no data'}): "
                "give licences of its training folders alone."
            )
        data[source] = f"{data[source].split('; ', 1)[0]}; {licence}"
    rule = card.decision if decision is None else decision
    if set(rule) != set(card.decision) or not all(isinstance(v, int | float) for v in rule.values()):
        own = ", ".join(card.decision) or "none"
        raise ModelError(f"The rule given for '{card.name}' is another one than its own: give these numbers ({own}).")
    told = card.model_dump(exclude={"sha256"}) | {"decision": dict(rule)}
    told |= {"name": folder.name, "training_data": data, "accuracy": card.accuracy | dict(accuracy or {})}
    return save_model(network, told, folder, half=half)
