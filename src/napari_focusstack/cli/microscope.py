"""Commands that drive a microscope: autofocus, and scans that refocus at each field."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from napari_focusstack.cli import options as opt
from napari_focusstack.cli.commands import app
from napari_focusstack.cli.microscope_told import tell_focused, tell_scan, write_scan
from napari_focusstack.cli.show import run
from napari_focusstack.core.errors import InputError
from napari_focusstack.core.progress import Job, Progress, changed

if TYPE_CHECKING:
    from useq import ZRangeAround

    from napari_focusstack.core.autofocus import Focused
    from napari_focusstack.core.autofocus.methods import FocusMethod
    from napari_focusstack.core.stack import Optics
    from napari_focusstack.microscope.rig import Rig
    from napari_focusstack.microscope.scan import Scan

Demo = Annotated[
    bool, typer.Option("--demo", help="Micro-Manager's demo stages, and a camera that shows a simulated slide.")
]
Config = Annotated[
    Path | None, typer.Option(help="Micro-Manager configuration (.cfg) of your microscope.", show_default=False)
]
Method = Annotated[
    str, typer.Option(help="How to find focus: spectra, brent, or a network that is installed (hhnet, ldsenet).")
]
Measure = Annotated[
    str | None, typer.Option(help="Focus measure of the search (brent); see 'scorers'.", show_default="tenengrad")
]
Limits = Annotated[
    tuple[float, float] | None,
    typer.Option(
        metavar="LOW HIGH", help="Travel limits in µm, on the stage's scale; never passed.", show_default="demo: -40 40"
    ),
]
XLimits = Annotated[
    tuple[float, float] | None,
    typer.Option(metavar="LOW HIGH", help="Travel limits in x in µm; never passed.", show_default="none"),
]
YLimits = Annotated[
    tuple[float, float] | None,
    typer.Option(metavar="LOW HIGH", help="Travel limits in y in µm; never passed.", show_default="none"),
]
Start = Annotated[float | None, typer.Option(help="Height in µm to begin at.", show_default="where the stage stands")]
Toward = Annotated[
    str | None,
    typer.Option(
        help="'up' or 'down': which way the stage brings objective and specimen together.",
        show_default="the configuration's focus direction",
    ),
]
Specimen = Annotated[
    Path | None, typer.Option(help="Demo: a sharp image to put on the slide.", show_default="drawn cells")
]
Timeout = Annotated[float, typer.Option(min=0.1, help="Seconds after which autofocus gives up.")]
MostImages = Annotated[int, typer.Option(min=2, help="Images after which autofocus gives up.")]
RANGE_UM = 20.0
RangeUm = Annotated[
    float | None,
    typer.Option("--range", help="Range of the z-stack around focus in µm.", show_default=f"{RANGE_UM:g}"),
]
StepUm = Annotated[
    float | None, typer.Option("--step", help="Step of the z-stack in µm.", show_default="half the depth of field")
]


@app.command()
def autofocus(
    demo: Demo = False,
    config: Config = None,
    method: Method = "spectra",
    measure: Measure = None,
    limits: Limits = None,
    start: Start = None,
    toward: Toward = None,
    stack: Annotated[
        Path | None, typer.Option(help="Take a z-stack around focus, and write it here (TIFF).", show_default=False)
    ] = None,
    range_um: RangeUm = None,
    step_um: StepUm = None,
    timeout: Timeout = 60.0,
    max_images: MostImages = 60,
    specimen: Specimen = None,
    na: opt.Aperture = None,
    wavelength: opt.Wavelength = None,
    pixel_size: opt.PixelSize = None,
    overwrite: opt.Overwrite = False,
    device: opt.Device = opt.DeviceName.AUTO,
    as_json: opt.Json = False,
    verbose: opt.Verbose = False,
) -> None:
    """Bring a microscope into focus. The stage stays within its limits, and goes back if focus is not found."""
    chosen = _method(method, measure)
    _check_targets([] if stack is None else [stack], specimen, overwrite=overwrite)
    from napari_focusstack.core.stack import Optics
    from napari_focusstack.microscope.acquire import go_to

    opt.check_used({"--range": range_um, "--step": step_um}, by="--stack", there=stack is not None)
    if stack is not None:
        _check_plan(range_um, step_um)

    rig = _connected(
        demo,
        config,
        limits=limits,
        toward=toward,
        specimen=specimen,
        optics=Optics(na=na, wavelength_um=wavelength),
        pixel_um=pixel_size,
        device=device,
    )
    try:
        plan = None if stack is None else _plan(rig, range_um, step_um)
        if start is not None:
            run(go_to(rig, start), verbose=verbose)
        found = _focus(rig, chosen, timeout, max_images, verbose=verbose)
        written = None
        try:
            if stack is not None and plan is not None and found.found:
                written = _take_stack(rig, stack, plan, overwrite=overwrite, verbose=verbose)
        finally:  # where focus is has been found, whatever becomes of the z-stack
            tell_focused(found, rig, written, as_json=as_json)
    finally:
        rig.disconnect()
    if not found.found:
        raise typer.Exit(1)


@app.command()
def scan(
    output: Annotated[Path, typer.Option("--output", "-o", help="Fields to write (TIFF).", show_default=False)],
    demo: Demo = False,
    config: Config = None,
    rows: Annotated[int, typer.Option(min=1, help="Fields along y.")] = 2,
    columns: Annotated[int, typer.Option(min=1, help="Fields along x.")] = 2,
    overlap: Annotated[float, typer.Option(help="Overlap of neighbouring fields in percent.")] = 10.0,
    refocus: Annotated[bool, typer.Option(help="Bring each field into focus.")] = True,
    z_stacks: Annotated[bool, typer.Option("--z-stacks", help="Take a z-stack of each field, not one image.")] = False,
    mosaic: Annotated[
        Path | None, typer.Option(help="The fields side by side, to write (TIFF).", show_default=False)
    ] = None,
    method: Method = "spectra",
    measure: Measure = None,
    limits: Limits = None,
    x_limits: XLimits = None,
    y_limits: YLimits = None,
    start: Start = None,
    toward: Toward = None,
    range_um: RangeUm = None,
    step_um: StepUm = None,
    timeout: Timeout = 60.0,
    max_images: MostImages = 60,
    specimen: Specimen = None,
    na: opt.Aperture = None,
    wavelength: opt.Wavelength = None,
    pixel_size: opt.PixelSize = None,
    overwrite: opt.Overwrite = False,
    device: opt.Device = opt.DeviceName.AUTO,
    as_json: opt.Json = False,
    verbose: opt.Verbose = False,
) -> None:
    """Visit a grid of fields around where the stage stands, bring each into focus, take it. Then go back.

    Ctrl-C stops the stages where they are, and writes the fields that were taken.
    """
    chosen = _method(method, measure)
    from napari_focusstack.core.stack import Optics
    from napari_focusstack.io.write import position_paths

    # The names that the files get: to find them taken after the scan would be too late.
    outputs = [*position_paths(output, rows * columns), *([] if mosaic is None else [mosaic])]
    _check_targets(outputs, specimen, overwrite=overwrite)
    from napari_focusstack.microscope.acquire import go_to
    from napari_focusstack.microscope.scan import grid_plan
    from napari_focusstack.microscope.scan import scan as scan_job

    opt.check_used({"--range": range_um, "--step": step_um}, by="--z-stacks", there=z_stacks)
    if z_stacks:
        _check_plan(range_um, step_um)

    rig = _connected(
        demo,
        config,
        limits=limits,
        y_limits=y_limits,
        x_limits=x_limits,
        toward=toward,
        specimen=specimen,
        optics=Optics(na=na, wavelength_um=wavelength),
        pixel_um=pixel_size,
        device=device,
    )
    from napari_focusstack.core.autofocus import LoopSettings
    from napari_focusstack.microscope.autofocus import autofocus as focus_job

    settings = LoopSettings(max_images=max_images, timeout_s=timeout)
    try:
        grid = grid_plan(rig, rows=rows, columns=columns, overlap_percent=overlap)
        plan = _plan(rig, range_um, step_um) if z_stacks else None
        if start is not None:
            run(go_to(rig, start), verbose=verbose)
        job = scan_job(
            rig, grid, focus=(lambda: focus_job(rig, chosen, settings=settings)) if refocus else None, plan=plan
        )
        taken, stopped = _scanned(job, verbose=verbose)
    finally:
        rig.disconnect()
    written = write_scan(taken, output, mosaic, overwrite=overwrite, verbose=verbose)
    tell_scan(taken, written, mosaic, method=method if refocus else None, as_json=as_json)
    if stopped:
        raise KeyboardInterrupt
    if taken.lost or taken.ended:
        raise typer.Exit(1)


def _scanned(job: Job[Scan], *, verbose: bool) -> tuple[Scan, bool]:
    """What was scanned, and whether Ctrl-C came before the end: what was taken by then is kept."""
    from napari_focusstack.microscope.scan import SoFar

    kept: list[SoFar] = []

    def note(step: Progress) -> Progress:
        if isinstance(step.partial, SoFar):
            kept[:] = [step.partial]
        return step

    try:
        return run(changed(job, note), verbose=verbose), False
    except KeyboardInterrupt:
        if not kept:
            raise
        return kept[0].cancelled(), True


def _check_targets(paths: Sequence[Path], specimen: Path | None, *, overwrite: bool) -> None:
    from napari_focusstack.io.atomic import check_targets
    from napari_focusstack.io.write import check_tiff_name

    sources = [] if specimen is None else [specimen]
    check_targets([check_tiff_name(path) for path in paths], overwrite=overwrite, sources=sources)


def _method(name: str, measure: str | None) -> FocusMethod:
    from napari_focusstack.core.autofocus.methods import focus_methods

    if measure is None:
        return focus_methods()[name]
    method = focus_methods(measure=measure)[name]
    if method.kind != "search":
        raise InputError(
            f"--measure {measure} was given, but '{name}' uses none: leave it out, or give --method brent."
        )
    return method


def _connected(
    demo: bool,
    config: Path | None,
    *,
    limits: tuple[float, float] | None,
    y_limits: tuple[float, float] | None = None,
    x_limits: tuple[float, float] | None = None,
    toward: str | None,
    specimen: Path | None,
    optics: Optics,
    pixel_um: float | None,
    device: str,
) -> Rig:
    """The microscope that the options name."""
    if demo == (config is not None):
        raise InputError("Give --demo for the demo microscope, or --config FILE.cfg for yours.")
    if config is None:
        _check_demo(
            {
                "--toward": toward,
                "--na": optics.na,
                "--wavelength": optics.wavelength_um,
                "--pixel-size": pixel_um,
            }
        )
        rig = _demo(limits, specimen)
    elif specimen is not None:
        raise InputError(f"--specimen {specimen} was given: that is for --demo, leave it out with --config.")
    elif limits is None:
        raise InputError(
            "No travel limits were given, and nothing is moved without them: "
            "give --limits LOW HIGH, in µm on the stage's own scale."
        )
    else:
        from napari_focusstack.microscope.rig import connect

        rig = connect(
            config,
            limits_um=limits,
            optics=optics,
            pixel_um=pixel_um,
            toward=_sign(toward),
        )
    rig.y_limits_um, rig.x_limits_um = y_limits, x_limits
    rig.device = str(device)
    return rig


def _check_demo(given: dict[str, Any]) -> None:
    """Refuse what the demo microscope has of its own."""
    for option, value in given.items():
        if value is not None:
            raise InputError(
                f"{option} {value} was given: the demo microscope has its own, leave it out or give --config FILE.cfg."
            )


def _demo(limits: tuple[float, float] | None, specimen: Path | None) -> Rig:
    from napari_focusstack.microscope.demo import LIMITS_UM, connect_demo
    from napari_focusstack.microscope.scene import DemoScene

    slide = None
    if specimen is not None:
        from napari_focusstack.io.read import read_stack

        slide = read_stack(specimen).plane()
    return connect_demo(DemoScene(slide), limits_um=limits or LIMITS_UM)


def _sign(toward: str | None) -> Literal[1, -1] | None:
    known: dict[str | None, Literal[1, -1] | None] = {"up": 1, "down": -1, None: None}
    if toward not in known:
        raise InputError(f"--toward {toward} was given: give up or down.")
    return known[toward]


def _focus(rig: Rig, method: FocusMethod, timeout: float, max_images: int, *, verbose: bool) -> Focused:
    from napari_focusstack.core.autofocus import LoopSettings
    from napari_focusstack.microscope.autofocus import autofocus as job

    settings = LoopSettings(max_images=max_images, timeout_s=timeout)
    return run(job(rig, method, settings=settings), verbose=verbose)


def _check_plan(range_um: float | None, step_um: float | None) -> None:
    """Refuse what is no z-stack on any microscope, before one is connected."""
    from napari_focusstack.microscope.acquire import z_plan

    most = RANGE_UM if range_um is None else range_um
    z_plan(most, most if step_um is None else step_um)


def _plan(rig: Rig, range_um: float | None, step_um: float | None) -> ZRangeAround:
    """The z-stack that the options name; refused where it can't fit between the limits."""
    from napari_focusstack.microscope.acquire import check_length, z_plan

    step_um = rig.info.depth_of_field_um / 2 if step_um is None else step_um
    plan = z_plan(RANGE_UM if range_um is None else range_um, step_um)
    check_length(rig, plan)
    return plan


def _take_stack(rig: Rig, path: Path, plan: ZRangeAround, *, overwrite: bool, verbose: bool) -> Path:
    from napari_focusstack.io.write import write_stack
    from napari_focusstack.microscope.acquire import z_stack

    taken = run(z_stack(rig, plan), verbose=verbose)
    return write_stack(path, taken, provenance={"Acquired with": rig.info.name}, overwrite=overwrite)
