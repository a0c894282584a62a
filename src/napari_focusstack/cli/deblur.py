"""The command that sharpens images."""

from __future__ import annotations

import dataclasses
import time as clock
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_focusstack.cli import options as opt
from napari_focusstack.cli.commands import app
from napari_focusstack.cli.show import print_json, run
from napari_focusstack.core.errors import InputError

if TYPE_CHECKING:
    from napari_focusstack.core.deblur import Deblurrer, DeblurSettings
    from napari_focusstack.core.stack import Stack

_BLURS = {"blur_px", "defocus_um", "motion_px"}


@app.command()
def deblur(
    image: opt.StackPaths,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Sharpened image to write (TIFF); required, but for --model list.",
            show_default=False,
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="Name of a deblurring method; 'list' names them.", show_default="the default"),
    ] = None,
    z: Annotated[int | None, typer.Option("--slice", min=0, help="Only this slice.", show_default=False)] = None,
    blur: Annotated[
        float | None,
        typer.Option(
            min=0.1,
            max=100,
            help="Radius of the blur in pixels, for the classical methods (networks see it themselves).",
            show_default="estimated",
        ),
    ] = None,
    defocus: Annotated[
        float | None,
        typer.Option(
            help="Distance from focus in µm: the blur that the optics make of it, for the classical methods.",
            show_default=False,
        ),
    ] = None,
    motion: Annotated[
        float | None,
        typer.Option(
            min=0.1,
            max=200,
            help="How many pixels the specimen moved during the exposure, for the classical methods.",
            show_default=False,
        ),
    ] = None,
    motion_angle: Annotated[
        float | None,
        typer.Option(
            min=-360, max=360, help="Direction of that in degrees: 0 along x, 90 along y (down).", show_default="0"
        ),
    ] = None,
    channel: opt.Channel = None,
    time: opt.Time = None,
    pixel_size: opt.PixelSize = None,
    na: opt.Aperture = None,
    wavelength: opt.Wavelength = None,
    overwrite: opt.Overwrite = False,
    device: opt.Device = opt.DeviceName.AUTO,
    as_json: opt.Json = False,
    verbose: opt.Verbose = False,
) -> None:
    """Sharpen an image, or every plane of a stack, that is out of focus or blurred by motion."""
    from napari_focusstack.core.deblur import DEBLURRERS, INVENTS, DeblurSettings, check_blur, deblur_job

    if model == "list":
        _list_models(as_json)
        return
    begin = clock.perf_counter()
    if motion_angle is not None and motion is None:
        raise InputError("--motion-angle was given without --motion: give how many pixels the specimen moved, too.")
    opt.check_used({"--na": na, "--wavelength": wavelength}, by="--defocus", there=defocus is not None)
    settings = DeblurSettings(
        blur_px=blur, defocus_um=defocus, motion_px=motion, motion_degrees=motion_angle or 0.0, device=device.value
    )
    if model is not None:
        settings = settings.model_copy(update={"model": DEBLURRERS[model].name})
    chosen = DEBLURRERS[settings.model]
    check_blur(settings)
    if output is None:
        raise InputError("No output was named: give --output FILE.tif.")
    optics = {"na": na, "wavelength_um": wavelength}
    source, made_of = _read(image, channel=channel, time=time, z=z, pixel_size=pixel_size, optics=optics)
    at = {"Z": z} if z is not None and "Z" in made_of.axes else {}
    from napari_focusstack.io.atomic import check_target
    from napari_focusstack.io.provenance import provenance, source_files
    from napari_focusstack.io.write import Output, check_tiff_name, write_job

    check_target(check_tiff_name(output), overwrite=overwrite, sources=source_files(source))
    made = run(deblur_job(made_of, settings, at=at), verbose=verbose)
    told = {"Estimated blur radius": made.blur_told} if made.blur_told else {}
    more = {"Channel": channel, "Time": time, "Warning": INVENTS if chosen.learned else None, **told}
    said = provenance(
        source,
        method=chosen.title,
        parameters=_parameters(settings, chosen),
        slices=() if z is None else (z,),
        more={k: v for k, v in more.items() if v is not None},
    )
    result = _without_z(made.stack) if at else made.stack
    run(write_job([Output(output, result, provenance=said)], overwrite=overwrite), verbose=verbose)
    seconds = round(clock.perf_counter() - begin, 3)
    if as_json:
        print_json(
            {"model": chosen.name, "output": output, "learned": chosen.learned, "seconds": seconds}
            | ({"blur_px": made.blurs_px, "blur_um": made.blurs_um or None} if made.blurs_px else {})
        )
        return
    print(f"sharpened {source.name} by {chosen.title} in {seconds:.1f} s")
    if made.blur_told:
        print(f"estimated blur radius: {made.blur_told}")
    if chosen.learned:
        print(INVENTS)
    print(f"wrote {output}")


def _parameters(settings: DeblurSettings, chosen: Deblurrer) -> dict[str, Any]:
    """What the provenance tells of the method: its weights, or the blur that was given to it."""
    if chosen.card is not None:
        return {"model": chosen.name, "weights SHA-256": chosen.card.sha256}
    given = {k: v for k, v in settings.model_dump(include=_BLURS).items() if v is not None}
    if not settings.blur_known:
        given["blur_px"] = "estimated"
    if settings.motion_px is not None:
        given["motion_degrees"] = settings.motion_degrees
    return {"model": chosen.name, **given}


def _read(
    image: list[Path],
    *,
    channel: str | None,
    time: int | None,
    z: int | None,
    pixel_size: float | None,
    optics: dict[str, float | None],
) -> tuple[Stack, Stack]:
    """What the file holds, and its channel and time; the slice is only looked for."""
    stacks = opt.read(image, z_axis=None, z_step=None, z_positions=None, pixel_size=pixel_size)
    if len(stacks) > 1:
        raise InputError(f"{len(stacks)} stacks were given ({stacks[0].name}, …): sharpen one at a time.")
    source = stacks[0]
    chosen = opt.narrowed(source, channel=channel, time=time)
    told: dict[str, Any] = {key: value for key, value in optics.items() if value is not None}
    chosen = dataclasses.replace(chosen, optics=dataclasses.replace(chosen.optics, **told))
    if z is not None and z >= chosen.n_slices:
        raise InputError(f"'{source.name}' has no slice {z}: choose one from 0 to {chosen.n_slices - 1}.")
    return source, chosen


def _without_z(stack: Stack) -> Stack:
    """A stack of one slice as an image."""
    where = tuple(0 if a == "Z" else slice(None) for a in stack.axes)
    axes = stack.axes.replace("Z", "")
    return dataclasses.replace(stack, data=stack.data[where], axes=axes, z_um=None, z_positions_um=None)


def _list_models(as_json: bool) -> None:
    from napari_focusstack.core.deblur import DEBLURRERS, default_deblurrer

    if as_json:
        found = [{"name": d.name, "title": d.title, "learned": d.learned, "reference": d.reference} for d in DEBLURRERS]
        print_json({"models": found, "default": default_deblurrer()})
        return
    for one in DEBLURRERS:
        print(f"{'*' if one.name == default_deblurrer() else ' '} {one.name:<22} {one.description}")
    print("* is the default")
