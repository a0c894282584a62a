"""The program and its main commands: each reads its input, runs one job of the core, writes, and tells of it."""

from __future__ import annotations

import time as clock
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_focusstack.cli import options as opt
from napari_focusstack.cli.scored import print_curve, score_chosen, told_scores
from napari_focusstack.cli.show import number, print_caution, print_json, print_note, print_uncalibrated, run
from napari_focusstack.core.errors import InputError

if TYPE_CHECKING:
    from napari_focusstack.core.stack import Stack

app = typer.Typer(
    name="focusstack",
    help="Focus analysis and focus stacking of z-stacks. Slices, channels, times and positions count from 0.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Scorer = Annotated[str | None, typer.Option(help="Name of a scorer; see 'scorers'.", show_default="the default")]
Patch = Annotated[int, typer.Option(min=4, help="Size of the patches of the focus map in pixels.")]
Whole = Annotated[bool, typer.Option("--whole-field", help="Let the whole field decide, not the specimen.")]


def _version(wanted: bool) -> None:
    if wanted:
        from napari_focusstack import __version__

        print(f"focusstack {__version__}")
        raise typer.Exit


@app.callback()
def _focusstack(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Options of the program itself."""


@app.command()
@opt.with_options(opt.CALIBRATION)
def info(
    stack: opt.StackPaths,
    channel: opt.Channel = None,
    time: opt.Time = None,
    device: opt.Device = opt.DeviceName.AUTO,
    as_json: opt.Json = False,
    verbose: opt.Verbose = False,
    **reading: Any,
) -> None:
    """Say what a stack is: axes and by which rule, size, type, calibration, channels, positions."""
    stacks = opt.read(stack, **reading)
    told = [_facts(opt.narrowed(one, channel=channel, time=time)) for one in stacks]
    if as_json:
        print_json(told[0] if len(told) == 1 else {**told[0], "series": told})
        return
    for one, facts in zip(stacks, told, strict=True):
        print(facts["name"])
        for key, value in facts.items():
            if key != "name" and value not in (None, [], {}) and (verbose or key != "files"):
                print(f"  {key.replace('_', ' '):<16} {_worded(value)}")
        print_uncalibrated(one)


@app.command()
@opt.with_options(opt.PLACE, opt.CALIBRATION, opt.OPTICS)
def score(
    stack: opt.StackPaths,
    scorer: Scorer = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Table to write (CSV).", show_default=False)
    ] = None,
    patch: Patch = 32,
    whole_field: Whole = False,
    channel: opt.Channel = None,
    rings: opt.Rings = None,
    overwrite: opt.Overwrite = False,
    device: opt.Device = opt.DeviceName.AUTO,
    as_json: opt.Json = False,
    verbose: opt.Verbose = False,
    **reading: Any,
) -> None:
    """Say how sharp each slice is and which is best."""
    from napari_focusstack.io.scores import ScoredPlace
    from napari_focusstack.io.write import write_scores_csv

    chosen = opt.choose(stack, rings=rings, **reading)
    if output is not None:
        _check([output], chosen.stack, overwrite=overwrite)
    report = score_chosen(
        chosen, scorer, patch, whole_field=whole_field, channel=channel, device=device, verbose=verbose
    )
    if output is not None:
        series = chosen.stack
        index = 0 if channel is None else series.find_channel(channel)
        name = series.channels[index] if series.channels else index
        place = ScoredPlace(report, series.name, chosen.position, chosen.time, name)
        write_scores_csv(output, [place], overwrite=overwrite)
    if as_json:
        print_json(told_scores(report) | ({} if output is None else {"output": output}))
        return
    print_curve(report, verbose=verbose)
    print_note(chosen.stack.hint if chosen.stack.n_slices == 1 else "")
    if output is not None:
        print(f"wrote {output}")


@app.command("map")
@opt.with_options(opt.PLACE, opt.CALIBRATION, opt.OPTICS)
def focus_map(
    stack: opt.StackPaths,
    output: Annotated[Path, typer.Option("--output", "-o", help="Focus maps to write (TIFF).", show_default=False)],
    scorer: Scorer = None,
    patch: Patch = 32,
    channel: opt.Channel = None,
    rings: opt.Rings = None,
    overwrite: opt.Overwrite = False,
    device: opt.Device = opt.DeviceName.AUTO,
    as_json: opt.Json = False,
    verbose: opt.Verbose = False,
    **reading: Any,
) -> None:
    """Write the focus map of each slice: a TIFF with a pixel for each patch, at the patch's size in µm.

    Networks know more of each patch (class, certainty, defocus in µm): each goes into a TIFF of its own beside it.
    """
    from napari_focusstack.io.map_layers import name_beside
    from napari_focusstack.io.provenance import score_provenance
    from napari_focusstack.io.write import check_tiff_name, write_map

    chosen = opt.choose(stack, rings=rings, **reading)
    _check([check_tiff_name(output)], chosen.stack, overwrite=overwrite)
    report = score_chosen(chosen, scorer, patch, whole_field=False, channel=channel, device=device, verbose=verbose)
    more = chosen.more | ({} if channel is None else {"Channel": channel})
    said = score_provenance(report, chosen.stack, more=more)
    beside = {name: output.with_name(name_beside(output, name)) for name in report.layers}
    _check(list(beside.values()), chosen.stack, overwrite=overwrite)
    write_map(output, report, chosen.stack, provenance=said, overwrite=overwrite)
    for name, path in beside.items():
        write_map(path, report, chosen.stack, layer=name, provenance=said, overwrite=overwrite)
    if as_json:
        cell = report.grid.cell_px
        told = {"scorer": report.scorer, "output": output, "shape": report.maps.shape, "cell_px": cell}
        told |= {"layers": beside} if beside else {}
        print_json(told | ({"caution": report.caution} if report.caution else {}))
        return
    print(f"wrote {output}: {'×'.join(map(str, report.maps.shape))} patches by {report.scorer}")
    for path in beside.values():
        print(f"wrote {path}")
    print_caution(report.caution)


@app.command()
@opt.with_options(opt.PLACE, opt.CALIBRATION)
def fuse(
    stack: opt.StackPaths,
    output: Annotated[Path, typer.Option("--output", "-o", help="Fused image to write (TIFF).", show_default=False)],
    method: Annotated[
        str | None, typer.Option(help="Name of a fusion method; see 'methods'.", show_default="the default")
    ] = None,
    align: Annotated[bool, typer.Option("--align", help="Register the slices to each other first.")] = False,
    depth: Annotated[Path | None, typer.Option(help="Heights in µm to write.", show_default=False)] = None,
    index: Annotated[Path | None, typer.Option(help="Slice of each pixel to write.", show_default=False)] = None,
    confidence: Annotated[Path | None, typer.Option(help="Confidence (0 to 1) to write.", show_default=False)] = None,
    slices: Annotated[
        str | None, typer.Option(help="First and last slice to fuse, like 3-12.", show_default=False)
    ] = None,
    recipe: Annotated[
        Path | None,
        typer.Option(help="Settings saved by the Fuse widget (JSON); other options go before it.", show_default=False),
    ] = None,
    drive: Annotated[
        str | None, typer.Option(help="Channel whose sharpness chooses for all channels.", show_default=False)
    ] = None,
    channel: opt.Channel = None,
    overwrite: opt.Overwrite = False,
    device: opt.Device = opt.DeviceName.AUTO,
    as_json: opt.Json = False,
    verbose: opt.Verbose = False,
    **reading: Any,
) -> None:
    """Fuse a stack into one image that is sharp everywhere."""
    begin = clock.perf_counter()
    from napari_focusstack.core.pipeline import fuse_job
    from napari_focusstack.io.provenance import fused_provenance
    from napari_focusstack.io.write import Part, check_tiff_name, write_fused_job

    chosen = opt.choose(stack, **reading)
    settings = opt.fuse_settings(
        recipe, slices=slices, align=align, device=device, method=method, drive=drive, channel=channel
    )
    series = chosen.stack
    if settings.channel is not None:
        series = series.only_channel(series.find_channel(settings.channel))
    wanted: dict[Part, Path] = {"image": output}
    others: dict[Part, Path | None] = {"index": index, "depth": depth, "confidence": confidence}
    wanted |= {part: path for part, path in others.items() if path is not None}
    _check([check_tiff_name(path) for path in wanted.values()], series, overwrite=overwrite)
    if depth is not None and series.heights_um is None:
        raise InputError(
            f"The z step of '{series.name}' is not known, so there is no depth in µm: give --z-step or --z-positions."
        )
    fused = run(fuse_job(chosen.stack, settings, time=chosen.time, position=chosen.position), verbose=verbose)
    more = chosen.more | ({} if settings.channel is None else {"Channel": settings.channel})
    said = fused_provenance(fused, series, more=more)
    run(write_fused_job(wanted, fused, series, provenance=said, overwrite=overwrite), verbose=verbose)
    seconds = clock.perf_counter() - begin
    note = "" if fused.confidence.any() else "No slice holds anything sharp: there was nothing to choose by."
    if as_json:
        written = {"output" if part == "image" else part: path for part, path in wanted.items()}
        told = {"method": fused.method, **written, "slices": len(fused.slices), "seconds": round(seconds, 3)}
        print_json(told | ({"note": note} if note else {}))
        return
    print(f"fused {len(fused.slices)} slices of {series.name} by {fused.method} in {seconds:.1f} s")
    for path in wanted.values():
        print(f"wrote {path}")
    print_note(note)
    print_uncalibrated(series)


@app.command()
def demo(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write to.")] = Path("demo_output"),
    device: opt.Device = opt.DeviceName.AUTO,
    as_json: opt.Json = False,
    verbose: opt.Verbose = False,
) -> None:
    """Do the main job on a bundled real stack: score it, map its focus, fuse it."""
    from napari_focusstack.core.pipeline import fuse_job, score_job
    from napari_focusstack.core.settings import FuseSettings, ScoreSettings
    from napari_focusstack.io.atomic import make_folder
    from napari_focusstack.io.samples import sample_stack
    from napari_focusstack.io.write import CONTENT, Part, write_fused_job, write_map, write_scores_csv

    stack = sample_stack("organoids")
    make_folder(output)
    report = run(score_job(stack, ScoreSettings(device=device.value)), verbose=verbose)
    fused = run(fuse_job(stack, FuseSettings(device=device.value)), verbose=verbose)
    parts: dict[Part, Path] = {part: output / f"{'fused' if part == 'image' else part}.ome.tif" for part in CONTENT}
    written: dict[str, Path] = {
        "scores": write_scores_csv(output / "scores.csv", report, overwrite=True),
        "maps": write_map(output / "focus_maps.ome.tif", report, stack, overwrite=True),
        **{str(part): path for part, path in parts.items()},
    }
    run(write_fused_job(parts, fused, stack, overwrite=True), verbose=verbose)
    if as_json:
        print_json(told_scores(report) | {"method": fused.method, "slices": len(fused.slices), "written": written})
        return
    print(
        f"{stack.name}: {stack.n_slices} slices, pixels of {number(stack.x_um, ' µm')}, z {number(stack.z_um, ' µm')}"
    )
    print_curve(report, verbose=verbose)
    print(f"fused {len(fused.slices)} slices by {fused.method}")
    for path in written.values():
        print(f"wrote {path}")


def _facts(stack: Stack) -> dict[str, Any]:
    heights = stack.z_positions_um
    optics = {key: value for key, value in vars(stack.optics).items() if value is not None}
    return {
        "name": stack.name,
        "source": str(stack.source),
        "axes": stack.axes,
        "shape": list(stack.data.shape),
        "axes_note": stack.axes_note,
        "dtype": stack.dtype.name,
        "slices": stack.n_slices,
        "channels": stack.n_channels,
        "channel_names": list(stack.channels),
        "times": stack.n_times,
        "positions": stack.n_positions,
        "pixel_um": None if stack.y_um is None or stack.x_um is None else [stack.y_um, stack.x_um],
        "z_um": stack.z_um,
        "z_positions_um": None if heights is None else list(heights),
        "optics": optics,
        "files": [str(path) for path in stack.metadata.get("files", ())],
    }


def _worded(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k} {_worded(v)}" for k, v in value.items())
    if isinstance(value, list):
        return " ".join(map(_worded, value))
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _check(outputs: list[Path], stack: Stack, *, overwrite: bool) -> None:
    """Make sure that all outputs can be written, before anything is computed."""
    from napari_focusstack.io.atomic import check_targets
    from napari_focusstack.io.provenance import source_files

    check_targets(outputs, overwrite=overwrite, sources=source_files(stack))
