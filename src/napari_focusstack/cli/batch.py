"""Many stacks in one go: each is scored and fused, a table tells of all, and a bad one stops none of the others."""

from __future__ import annotations

import csv
import glob
import io
import os
import sys
import time as clock
import traceback
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_focusstack.cli import options as opt
from napari_focusstack.cli.commands import Patch, Scorer, Whole, app
from napari_focusstack.cli.show import FAILURE, MORE, failure, number, print_json, run
from napari_focusstack.core.errors import InputError

if TYPE_CHECKING:
    from napari_focusstack.core.settings import FuseSettings, ScoreSettings
    from napari_focusstack.core.stack import Stack

TABLE = "batch.csv"
ENDING = "_fused.ome.tif"
COLUMNS = (
    "file",
    "position",
    "time",
    "scorer",
    "best_slice",
    "peak_um",
    "confidence",
    "reason",
    "method",
    "fused_file",
    "seconds",
    "error",
)
NEW = {"scorer", "method"}
"""Columns that tables of earlier versions lack."""
Row = dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """What is done to each stack.

    Attributes
    ----------
    folder : Path
        Where to write.
    scoring, fusing : settings
        How.
    channel : str or None
        Channel to score; the first where not given.
    time, position : int or None
        The time point and position to take; all where not given.
    reading : dict
        Options of `options.read`.
    overwrite, verbose : bool
        Replace finished outputs; say more.
    """

    folder: Path
    scoring: ScoreSettings
    fusing: FuseSettings
    channel: str | None
    time: int | None
    position: int | None
    reading: dict[str, Any]
    overwrite: bool
    verbose: bool


@app.command()
@opt.with_options(opt.CALIBRATION)
def batch(
    patterns: Annotated[
        list[str],
        typer.Argument(
            metavar="PATTERN...",
            help="Files, folders of stacks or of slices, or patterns in quotes like 'plate/**/*.tif'.",
            show_default=False,
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write to.", show_default=False)],
    scorer: Scorer = None,
    patch: Patch = 32,
    whole_field: Whole = False,
    method: Annotated[
        str | None, typer.Option(help="Name of a fusion method; see 'methods'.", show_default="the default")
    ] = None,
    align: Annotated[bool, typer.Option("--align", help="Register the slices to each other first.")] = False,
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
    time: Annotated[int | None, typer.Option(min=0, help="Time point, 0-based.", show_default="all")] = None,
    position: Annotated[
        int | None, typer.Option(min=0, help="Position or image series, 0-based.", show_default="all")
    ] = None,
    device: opt.Device = opt.DeviceName.AUTO,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Do finished stacks again (a source is never replaced).")
    ] = False,
    as_json: opt.Json = False,
    verbose: opt.Verbose = False,
    **reading: Any,
) -> None:
    """Score and fuse many stacks; finished ones are passed over, so that a stopped batch can be gone on with."""
    from napari_focusstack.core.settings import ScoreSettings, settings_from
    from napari_focusstack.io.atomic import make_folder

    scoring = {"patch_px": patch, "specimen": not whole_field, "device": device.value} | (
        {} if scorer is None else {"scorer": scorer}
    )
    plan = Plan(
        output,
        settings_from(ScoreSettings, scoring),
        opt.fuse_settings(
            recipe, slices=slices, align=align, device=device, method=method, drive=drive, channel=channel
        ),
        channel,
        time,
        position,
        reading,
        overwrite,
        verbose,
    )
    _check_names(plan)
    names = output_names(find_stacks(patterns, output))
    make_folder(output)
    _work(names, plan, as_json=as_json)


def _work(names: dict[Path, str], plan: Plan, *, as_json: bool) -> None:
    """Do all stacks; the table is there after each, so that stopping loses none."""
    table = plan.folder / TABLE
    earlier = _read_table(table)
    rows: list[Row] = []
    made: dict[Path, Path] = {}
    counts = {"done": 0, "skipped": 0, "failed": 0}
    for path, name in names.items():
        for row, state in _rows_of(path, name, plan, earlier, made):
            rows.append(row)
            counts[state] += 1
            _write_table(table, [*rows, *_left(earlier, rows)])
            if not as_json:
                print(_line(row, state), flush=True)
    told = f"{counts['done']} done, {counts['skipped']} finished before, {counts['failed']} failed"
    if as_json:
        print_json({"table": table, "stacks": rows, **counts})
    else:
        print(f"{told}; wrote {table}")
    if counts["failed"]:
        ours = any((row["error"] or "").startswith(FAILURE) for row in rows)
        more = MORE if ours and not plan.verbose else ""
        print(f"focusstack: {counts['failed']} failed: the column 'error' of {table} says why{more}", file=sys.stderr)
        raise typer.Exit(1)


def find_stacks(patterns: Iterable[str], output: Path) -> list[Path]:
    """The files, and the folders of slices, that patterns mean, in natural order; nothing that a batch wrote.

    A folder whose image files hold a plane each is one stack; of another, every image file is one. Its sub-folders
    count too.

    Raises
    ------
    InputError
        If a pattern matches nothing.
    """
    from napari_focusstack.io.files import EXTENSIONS, VIDEOS, natural_key

    found: dict[Path, None] = {}
    for pattern in patterns:
        there = [Path(pattern)]
        if not there[0].exists():
            there = [Path(p) for p in sorted(glob.glob(pattern, recursive=True))]  # noqa: PTH207  (Path's takes no absolute)
        stacks: list[Path] = []
        for path in sorted(there, key=natural_key):
            if path.is_dir():
                stacks += _in_folder(path, output)
            elif len(there) == 1 or path.suffix.lower() in EXTENSIONS + VIDEOS:
                stacks.append(path)
        kept = [path for path in stacks if not _ours(path, output)]
        if not kept:
            raise InputError(
                f"'{pattern}' matches no image that can be read: give files, folders, or a pattern like 'plate/*.tif'."
            )
        found |= dict.fromkeys(kept)
    return list(found)


def output_names(paths: Iterable[Path]) -> dict[Path, str]:
    """A name for the results of each path: its own, with its folders and ending where others have the same."""
    from napari_focusstack.io.files import EXTENSIONS, VIDEOS

    paths = list(paths)
    folders = [path.absolute().parent for path in paths]
    common = Path(os.path.commonpath(folders)) if len({f.anchor for f in folders}) == 1 else None

    def stem(path: Path) -> str:
        name = path.resolve().name
        for ending in (*EXTENSIONS, *VIDEOS, ".ome") if not path.is_dir() else ():
            name = name[: -len(ending)] if name.lower().endswith(ending) else name
        return name

    def long(path: Path) -> str:
        parent = path.absolute().parent
        parts = parent.relative_to(common).parts if common is not None else parent.parts[1:]
        return "_".join([*parts, stem(path)])

    def longest(path: Path) -> str:
        return f"{long(path)}_{path.suffix.lstrip('.').lower()}"

    names = {path: stem(path) for path in paths}
    for longer in (long, longest):
        taken = [name.casefold() for name in names.values()]
        names = {path: longer(path) if taken.count(name.casefold()) > 1 else name for path, name in names.items()}
    return names


def _in_folder(folder: Path, output: Path) -> list[Path]:
    from napari_focusstack.io.files import image_files, natural_key

    images = [path for path in image_files(folder)[0] if not _ours(path, output)]
    stacks = images if any(_has_planes(path) for path in images) else [folder] if images else []
    inside = [p for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".") and not p.samefile(folder)]
    for path in sorted(inside, key=natural_key):
        stacks += _in_folder(path, output)
    return stacks


def _has_planes(path: Path) -> bool:
    from napari_focusstack.io.read import read_stacks

    try:
        return any(set(stack.axes) - set("YXS") for stack in read_stacks(path))
    except InputError:
        return False


def _ours(path: Path, output: Path) -> bool:
    """Whether a batch into `output` wrote this file."""
    return path.name.endswith(ENDING) and path.absolute().parent.resolve() == output.resolve()


def _check_names(plan: Plan) -> None:
    """Refuse a scorer or method that there is none of before the first stack, not at each."""
    from napari_focusstack.core.fusion import METHODS
    from napari_focusstack.core.scorers import SCORERS

    _ = SCORERS[plan.scoring.scorer], METHODS[plan.fusing.method]


def _rows_of(
    path: Path, name: str, plan: Plan, earlier: dict[str, Row], made: dict[Path, Path]
) -> Iterator[tuple[Row, str]]:
    """A row for each series of a file, and whether it was ``"done"``, ``"skipped"`` or ``"failed"``.

    `made` notes which stack each result is of: names may come out alike.
    """
    try:
        series = list(_series(path, name, plan))
    except Exception as error:
        yield dict.fromkeys(COLUMNS) | {"file": path, "error": _told(error, plan)}, "failed"
        return
    for target, one, t, p in series:
        known = earlier.get(target.name)
        place = {"file": path, "position": p, "time": t}
        other = made.setdefault(target, path)
        if other == path and not plan.overwrite and known is not None:
            other = _made_from(known, path)
        if other != path:
            said = f"'{target.name}' is the result of '{other}': rename one of them, or choose another folder."
            yield dict.fromkeys(COLUMNS) | place | {"error": said}, "failed"
            continue
        if target.exists() and not plan.overwrite and known is not None and not known["error"]:
            yield known | place, "skipped"
            continue
        row: Row = dict.fromkeys(COLUMNS) | place
        begin = clock.perf_counter()
        try:
            row |= _do(one, target, plan, time=t)
        except Exception as error:
            row["error"] = _told(error, plan)
        row["seconds"] = round(clock.perf_counter() - begin, 3)
        yield row, "failed" if row["error"] else "done"


def _made_from(row: Row, path: Path) -> Path:
    """The stack that an earlier row tells of: `path`, unless that is another one which is still there."""
    file = Path(row["file"] or path)
    return file if file.exists() and not file.samefile(path) else path


def _series(path: Path, name: str, plan: Plan) -> Iterator[tuple[Path, Stack, int, int]]:
    """(file to write, stack of one position, time point, position or series) of all that is asked for of a path."""
    stacks = opt.read([path], **plan.reading)
    if len(stacks) > 1 and len({stack.source for stack in stacks}) > 1:
        raise InputError(f"'{path}' holds {len(stacks)} stacks and single planes: sort them into folders.")
    places = [(stack, p) for stack in stacks for p in range(stack.n_positions)]
    if plan.position is not None and plan.position >= len(places):
        raise InputError(f"There is no position {plan.position}: choose one from 0 to {len(places) - 1}.")
    for number_, (stack, p) in enumerate(places):
        if plan.position not in (None, number_):
            continue
        if stack.n_slices == 1 and stack.n_times > 1 and plan.time is None:
            raise InputError(f"'{stack.name}' is a time series without z: say --z-axis t to take time for z.")
        stack.series(t=plan.time or 0)  # says if there is no such
        at_p = f"_p{number_}" if len(places) > 1 else ""
        for t in range(stack.n_times) if plan.time is None else (plan.time,):
            at_t = f"_t{t:0{len(str(stack.n_times - 1))}d}" if stack.n_times > 1 else ""
            where = tuple(p if a == "P" else slice(None) for a in stack.axes)
            one = replace(stack, data=stack.data[where], axes=stack.axes.replace("P", ""))
            yield plan.folder / f"{name}{at_p}{at_t}{ENDING}", one, t, number_


def _do(stack: Stack, target: Path, plan: Plan, *, time: int) -> Row:
    """Score a stack and fuse it into `target`, unless that is there already."""
    from napari_focusstack.core.pipeline import fuse_job, score_job
    from napari_focusstack.io.atomic import check_target
    from napari_focusstack.io.provenance import fused_provenance, read_provenance, source_files
    from napari_focusstack.io.write import write_fused_job

    there = target.exists() and not plan.overwrite
    if not there:
        check_target(target, overwrite=plan.overwrite, sources=source_files(stack))
    stack.require_slices("fuse it")
    channel = plan.channel if plan.channel is not None else plan.fusing.channel
    report = run(
        score_job(stack, plan.scoring, channel=0 if channel is None else channel, time=time), verbose=plan.verbose
    )
    found = report.decision
    row = {
        "scorer": report.scorer,
        "best_slice": found.best,
        "peak_um": None if found.peak_um is None else round(found.peak_um, 3),
        "confidence": found.confidence,
        "reason": found.reason,
        "fused_file": target.name,
    }
    if there:
        return row | {"method": read_provenance(target).get("Method")}
    fused = run(fuse_job(stack, plan.fusing, time=time), verbose=plan.verbose)
    alone = plan.fusing.channel
    series = stack if alone is None else stack.only_channel(stack.find_channel(alone))
    more: dict[str, Any] = {"Time point": time} if stack.n_times > 1 else {}
    said = fused_provenance(fused, series, more=more | ({} if alone is None else {"Channel": alone}))
    job = write_fused_job({"image": target}, fused, series, provenance=said, overwrite=plan.overwrite)
    run(job, verbose=plan.verbose)
    return row | {"method": fused.method}


def _told(error: Exception, plan: Plan) -> str:
    if isinstance(error, InputError):
        return str(error)
    if plan.verbose:
        traceback.print_exception(error)
    return failure(error)


def _read_table(path: Path) -> dict[str, Row]:
    """Rows of an earlier batch by the name of their fused file."""
    if not path.exists():
        return {}
    try:
        rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig"))))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"'{path}' can't be read ({error}): choose another folder.") from error
    if any(set(row) | NEW != set(COLUMNS) for row in rows):
        raise InputError(f"'{path}' is not a table that a batch wrote: choose another folder.")
    try:
        return {row["fused_file"]: {key: _value(key, row.get(key, "")) for key in COLUMNS} for row in rows}
    except ValueError as error:
        raise InputError(f"'{path}' was changed since a batch wrote it ({error}): choose another folder.") from error


def _value(column: str, text: str) -> Any:
    if not text:
        return None
    if column in ("best_slice", "position", "time"):
        return int(text)
    return float(text) if column in ("peak_um", "confidence", "seconds") else text


def _left(earlier: dict[str, Row], rows: list[Row]) -> Iterator[Row]:
    """Earlier rows of results that this batch has not come to: stopping it must not lose them."""
    now = {row["fused_file"] for row in rows}
    return (row for name, row in earlier.items() if name and name not in now)


def _write_table(path: Path, rows: Iterable[Row]) -> None:
    from napari_focusstack.io.write import write_text

    out = io.StringIO()
    table = csv.DictWriter(out, COLUMNS, lineterminator="\n")
    table.writeheader()
    table.writerows({key: "" if value is None else value for key, value in row.items()} for row in rows)
    write_text(path, out.getvalue(), overwrite=True)


def _line(row: Row, state: str) -> str:
    if state == "failed":
        return f"{row['file']}: {row['error']}"
    best = "no best slice" if row["best_slice"] is None else f"best slice {row['best_slice']}"
    height = "" if row["peak_um"] is None else f" at {number(row['peak_um'], ' µm')}"
    before = " (finished before)" if state == "skipped" else ""
    return f"{row['file']}: {best}{height}, {row['fused_file']}{before}"
