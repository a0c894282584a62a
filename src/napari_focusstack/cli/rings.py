"""`focusstack rings`: find out on which side of focus an objective shows rings, for the sign in single images."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from napari_focusstack.cli import options as opt
from napari_focusstack.cli.commands import app
from napari_focusstack.cli.scored import score_chosen
from napari_focusstack.cli.show import print_json
from napari_focusstack.core.errors import InputError


@app.command()
@opt.with_options(opt.PLACE, opt.CALIBRATION, opt.OPTICS)
def rings(
    stack: opt.StackPaths,
    scorer: Annotated[str, typer.Option(help="Name of a scorer that tells defocus in µm.")] = "ldsenet",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Tell the side; don't remember it.")] = False,
    channel: opt.Channel = None,
    device: opt.Device = opt.DeviceName.AUTO,
    as_json: opt.Json = False,
    verbose: opt.Verbose = False,
    **reading: Any,
) -> None:
    """Learn from a stack through focus (of beads, say) on which side of focus an objective shows rings.

    The side is remembered for that objective, as far as the stack tells which it is (numerical aperture, names of
    microscope and objective, magnification, else pixel size), and gives single images their sign from then on.
    """
    from napari_focusstack.io.rings import remember_rings

    chosen = opt.choose(stack, **reading)
    if chosen.stack.n_slices < 3:
        raise InputError(
            f"'{chosen.stack.name}' has {chosen.stack.n_slices} slice(s): give a stack of three or more, through focus."
        )
    found = score_chosen(chosen, scorer, 32, whole_field=False, channel=channel, device=device, verbose=verbose)
    optics, side = chosen.stack.optics, found.extras.get("rings")
    if side is None or optics.na is None:
        raise InputError(
            f"'{chosen.stack.name}' does not tell on which side of focus rings are (symmetric optics, or it does not "
            "pass through focus): give a stack of small beads through focus, or --rings with each image."
        )
    agreement = found.extras["rings_agreement"]
    path = None if dry_run else remember_rings(optics, side, pixel_um=chosen.stack.x_um)
    if as_json:
        print_json({"rings": side, "agreement": agreement, "na": optics.na, "output": path})
        return
    print(f"rings {side} focus (agreement {agreement:.2f}) at NA {optics.na:g}")
    if path is not None:
        print(f"wrote {path}")
