"""The commands about focus masks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from napari_focusstack.cli import options as opt
from napari_focusstack.cli.commands import app
from napari_focusstack.cli.lists import list_choices
from napari_focusstack.cli.show import print_caution, print_json, run


@app.command()
@opt.with_options(opt.PLACE, opt.CALIBRATION)
def mask(
    stack: opt.StackPaths,
    output: Annotated[Path, typer.Option("--output", "-o", help="Masks to write (TIFF).", show_default=False)],
    method: Annotated[
        str | None, typer.Option(help="Name of a mask method; see 'masks'.", show_default="the default")
    ] = None,
    threshold: Annotated[
        float, typer.Option(min=0, max=1, help="Probability from which on a pixel is in focus.")
    ] = 0.5,
    probability: Annotated[
        Path | None, typer.Option(help="Probability (0 to 1) to write (TIFF).", show_default=False)
    ] = None,
    areas: Annotated[
        Path | None, typer.Option(help="Table of the area in focus of each slice to write (CSV).", show_default=False)
    ] = None,
    channel: opt.Channel = None,
    overwrite: opt.Overwrite = False,
    device: opt.Device = opt.DeviceName.AUTO,
    as_json: opt.Json = False,
    verbose: opt.Verbose = False,
    **reading: Any,
) -> None:
    """Mark the pixels of each slice that are in focus: a TIFF of the stack's size, 255 in focus, 0 elsewhere."""
    from napari_focusstack.core.masks import MASKS, default_mask, focus_masks
    from napari_focusstack.io.atomic import check_targets
    from napari_focusstack.io.masks import MaskPart, areas_table, mask_provenance, write_masks_job
    from napari_focusstack.io.provenance import source_files
    from napari_focusstack.io.write import check_tiff_name, write_text

    chosen = opt.choose(stack, **reading)
    engine = MASKS[method or default_mask()]
    series = chosen.stack.series(t=chosen.time, p=chosen.position)
    series = series.only_channel(0 if channel is None else series.find_channel(channel))
    paths: dict[MaskPart, Path] = {"masks": check_tiff_name(output)}
    if probability is not None:
        paths["probability"] = check_tiff_name(probability)
    outputs = [*paths.values(), *([] if areas is None else [areas])]
    check_targets(outputs, overwrite=overwrite, sources=source_files(series))
    found = run(focus_masks(series, engine, device=device.value), verbose=verbose)
    more = chosen.more | ({} if channel is None else {"Channel": channel})
    said = mask_provenance(found, series, threshold=threshold, more=more)
    run(write_masks_job(paths, found, series, threshold=threshold, said=said, overwrite=overwrite), verbose=verbose)
    if areas is not None:
        write_text(areas, areas_table(found, series, threshold=threshold), overwrite=overwrite)
    shares = found.shares(threshold)
    if as_json:
        written = {"output": output, "probability": probability, "areas": areas}
        told = {key: path for key, path in written.items() if path is not None}
        told_of = {"method": found.method, "threshold": threshold, **told, "in_focus": shares}
        print_json(told_of | ({"caution": found.caution} if found.caution else {}))
        return
    for z, share in enumerate(shares):
        print(f"{z:4d}  {share:6.1%} in focus")
    for path in outputs:
        print(f"wrote {path}")
    print_caution(found.caution)


@app.command()
def masks(device: opt.Device = opt.DeviceName.AUTO, as_json: opt.Json = False, verbose: opt.Verbose = False) -> None:
    """List the mask methods."""
    from napari_focusstack.core.masks import MASKS, default_mask

    fields = ("name", "title", "description", "reference")
    list_choices("masks", [{f: getattr(m, f) for f in fields} for m in MASKS], default_mask(), as_json, verbose)
