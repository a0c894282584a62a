"""The focus classifier's rule for specimens of no known kind: from trainings that have left out a source each.

    focusstack train mmdf --images sharp --source dsb2018 --source cellprofiler --epochs 12 -o fold --name mmdf_but_bccd
    python benchmarks/accuracy/rule.py mmdf_but_bccd mmdf_but_cellprofiler -o rule.json

A network takes specimens that it has learned from for sharper than others, and a rule fitted on images of its own
sources for the others' as well. Here the rule is fitted on what each of the models says of the training sources that it
has not seen, under the training's simulated optics; their patches are pooled, as many of each source. Test sources are
not opened. ``focusstack bundle --decision rule.json`` puts the rule into a card.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from run import TRAINING, sharp, validation

from napari_focusstack.networks.zoo import find_model, load_model, read_card
from napari_focusstack.training.library import Sharp
from napari_focusstack.training.patches import Batch, PatchData
from napari_focusstack.training.recipes import RECIPES
from napari_focusstack.training.recipes.mmdf import Judged, judged, rule_of

BATCHES, SEED = 200, 3


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("model", nargs="+", help="classifiers, each trained without some source")
    options.add_argument("-o", "--output", type=Path, required=True, help="JSON file for the rule")
    options.add_argument("--batches", type=int, default=BATCHES, help="of 32 patches, for each source left out")
    given = options.parse_args()
    parts: list[Judged] = []
    print("| model | source | level, by the pixels | told the sampling | per octave |\n|" + " --- |" * 5)
    for name in given.model:
        card, (network, _) = read_card(find_model(name)), load_model(name)
        left_out = [source for source in TRAINING if source not in card.training_data]
        if not left_out:
            sys.exit(f"'{name}' has learned from every source: give models that have left one out.")
        known = [image for image in validation() if image.source in card.training_data]
        recipe = str(card.training["recipe"])
        seen = judged(network, batches_of(recipe, known, given.batches), torch.device("cpu"))
        print(row(name, "its own, validation", [seen]))
        for source in left_out:
            parts.append(
                judged(network, batches_of(recipe, sharp((source,), None), given.batches), torch.device("cpu"))
            )
            print(row(name, source, parts[-1:]), flush=True)
    print(row("all", "left out", parts))
    given.output.write_text(json.dumps(rule_of(parts), indent=2) + "\n", encoding="utf-8")


def batches_of(recipe: str, images: list[Sharp], count: int) -> list[Batch]:
    """Patches as in a recipe's training, without specimens drawn at random: those are known to every network."""
    settings = RECIPES[recipe].data.settings.model_copy(update={"drawn": 0.0})
    stream: Iterator[Batch] = PatchData(settings).batches(images, batch=32, seed=SEED)
    return [next(stream) for _ in range(count)]


def row(name: str, source: str, parts: list[Judged]) -> str:
    rule = rule_of(parts)
    return f"| {name} | {source} | {rule['level']:.2f} | {rule['calibrated_level']:.2f} | {rule['per_octave']:.2f} |"


if __name__ == "__main__":
    main()
