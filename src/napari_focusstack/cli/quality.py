"""The command that rates a fused image."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from napari_focusstack.cli import options as opt
from napari_focusstack.cli.commands import app
from napari_focusstack.cli.show import print_json, print_note, run
from napari_focusstack.core.errors import InputError


@app.command()
def quality(
    fused: Annotated[Path, typer.Argument(help="A fused image.", show_default=False)],
    sources: Annotated[
        list[Path] | None,
        typer.Option(help="The stack it was fused from: a file or a folder; once for each slice.", show_default=False),
    ] = None,
    reference: Annotated[
        Path | None, typer.Option(help="The truth: a sharp image of the same size.", show_default=False)
    ] = None,
    channel: opt.Channel = None,
    time: opt.Time = None,
    position: opt.Position = 0,
    z_axis: opt.ZAxis = None,
    device: opt.Device = opt.DeviceName.AUTO,
    as_json: opt.Json = False,
    verbose: opt.Verbose = False,
) -> None:
    """Rate a fused image: by itself, against the slices it was fused from, against a sharp reference."""
    from napari_focusstack.core.quality import assess

    opt.check_used({"--position": position or None, "--z-axis": z_axis}, by="--sources", there=bool(sources))
    paths = [fused] if reference is None else [fused, reference]
    image, truth, *_ = [*_planes_of(paths, channel=channel, time=time, alone=not sources), None]
    series = None
    if sources:
        chosen = opt.choose(
            sources, z_axis=z_axis, z_step=None, z_positions=None, pixel_size=None, time=time, position=position
        )
        series = chosen.stack.series(t=chosen.time, p=chosen.position)
        series = series.only_channel(0 if channel is None else series.find_channel(channel))
    found = run(assess(image, sources=series, reference=truth), verbose=verbose)
    if as_json:
        print_json({one.metric.name: one.value for one in found})
        return
    compared = {"itself": "", "sources": ", against the slices", "reference": ", against the reference"}
    for one in found:
        unit = "" if one.metric.units == "1" else f" {one.metric.units}"
        print(f"{one.metric.name:<8} {one.value:>10.4f}{unit:<8}  {one.metric.title}{compared[one.against]}")
        first, _, rest = one.metric.hint.partition(". ")
        # The hint of a metric that wants a reference tells last what it says without one.
        short = rest if one.metric.against == "reference" and one.against == "sources" else first
        print(f"         {one.metric.hint if verbose else short.rstrip('.') + '.'}")
    if not sources:
        print_note(
            "with --sources STACK, the slices it was fused from, you learn how much of them arrived: qabf, mi, nmi"
        )
    if reference is None:
        print_note("with --reference IMAGE, a sharp image of the same scene, you learn how near it comes: psnr, ssim")


def _planes_of(paths: list[Path], *, channel: str | None, time: int | None, alone: bool) -> list[Any]:
    """The plane of each image that is asked for; an image without times or channels stands for all of them.

    `alone`: there is no stack besides that has the times and channels.
    """
    from napari_focusstack.io.read import read_stack

    images = [read_stack(path) for path in paths]
    times, several = (not alone or any(axis in image.axes for image in images) for axis in "TC")
    planes = []
    for image in images:
        one = opt.narrowed(
            image,
            channel=channel if "C" in image.axes or not several else None,
            time=time if "T" in image.axes or not times else None,
        )
        if set(one.axes) - set("YXS"):
            raise InputError(
                f"'{one.name}' holds several planes (axes {one.axes}): give one image, or choose with --channel and "
                "--time."
            )
        planes.append(one.plane())
    return planes
