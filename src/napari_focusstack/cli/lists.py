"""The commands that list what can be chosen."""

from __future__ import annotations

from typing import Any

from napari_focusstack.cli import options as opt
from napari_focusstack.cli.commands import app
from napari_focusstack.cli.show import print_json


@app.command()
def scorers(device: opt.Device = opt.DeviceName.AUTO, as_json: opt.Json = False, verbose: opt.Verbose = False) -> None:
    """List the scorers."""
    from napari_focusstack.core.scorers import DEFAULT_SCORER, SCORERS

    fields = ("name", "title", "family", "units", "description", "reference")
    list_choices("scorers", [{f: getattr(s, f) for f in fields} for s in SCORERS], DEFAULT_SCORER, as_json, verbose)


@app.command()
def methods(device: opt.Device = opt.DeviceName.AUTO, as_json: opt.Json = False, verbose: opt.Verbose = False) -> None:
    """List the fusion methods."""
    from napari_focusstack.core.fusion import DEFAULT_METHOD, METHODS

    fields = ("name", "title", "description", "reference")
    list_choices("methods", [{f: getattr(m, f) for f in fields} for m in METHODS], DEFAULT_METHOD, as_json, verbose)


def list_choices(kind: str, entries: list[dict[str, Any]], default: str, as_json: bool, verbose: bool) -> None:
    """Print the entries of a registry."""
    if as_json:
        print_json({kind: entries, "default": default})
        return
    width = max(len(e["name"]) for e in entries)
    for entry in entries:
        star = "*" if entry["name"] == default else " "
        print(f"{star} {entry['name']:<{width}}  {entry['description']}")
        if verbose:
            print(f"  {'':<{width}}  {entry['reference']}")
    print("* is the default")
