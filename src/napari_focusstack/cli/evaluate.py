"""`focusstack evaluate`: which scorer finds what an expert picked, on a folder of stacks."""

from __future__ import annotations

import csv
import io
import time as clock
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_focusstack.cli import options as opt
from napari_focusstack.cli.batch import find_stacks, output_names
from napari_focusstack.cli.commands import Patch, Whole, app
from napari_focusstack.cli.show import print_json, run
from napari_focusstack.core.errors import InputError

if TYPE_CHECKING:
    from napari_focusstack.core.agreement import Agreement, Truth
    from napari_focusstack.io.labels import Place

COLUMNS = ("stack", "position", "time", "scorer", "best", "found", "off", "accepted", "rho", "seconds", "error")


@dataclass(frozen=True)
class Result:
    """One scorer on one stack."""

    place: Place
    scorer: str
    truth: Truth
    agreement: Agreement | None
    seconds: float
    error: str = ""

    def row(self) -> tuple[object, ...]:
        """A row of the table."""
        a, p = self.agreement, self.place
        told = ("", "", "", "") if a is None else (a.found, a.off, int(a.accepted), f"{a.rho:.4f}")
        return (p.stack, p.position, p.time, self.scorer, self.truth.best, *told, f"{self.seconds:.3f}", self.error)


@app.command()
def evaluate(
    folder: Annotated[Path, typer.Argument(help="Folder of stacks.", show_default=False)],
    labels: Annotated[
        Path,
        typer.Option(
            help="CSV of the clearest slices, 0-based: stack, best (or a table of picks), and lo, hi where known.",
            show_default=False,
        ),
    ],
    scorer: Annotated[
        list[str] | None, typer.Option(help="Name of a scorer (repeat for more).", show_default="all")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Table of all results (CSV).", show_default=False)
    ] = None,
    patch: Patch = 32,
    whole_field: Whole = False,
    channel: opt.Channel = None,
    device: opt.Device = opt.DeviceName.AUTO,
    overwrite: opt.Overwrite = False,
    as_json: opt.Json = False,
    verbose: opt.Verbose = False,
) -> None:
    """Compare scorers with the slices that an expert picked: hits, neighbours, rank correlation."""
    from napari_focusstack.core.scorers import SCORERS
    from napari_focusstack.io.atomic import check_target, replacing
    from napari_focusstack.io.labels import read_labels

    names = [SCORERS[n].name for n in scorer] if scorer else list(SCORERS.names())
    known = read_labels(labels)
    if output is not None:
        check_target(output, overwrite=overwrite, sources=(labels,))
    paths = _named(folder, known)
    how = patch, whole_field, channel, device
    results = [
        _try(paths[place.stack], place, truth, name, how, verbose=verbose)
        for place, truth in known.items()
        for name in names
    ]
    if output is not None:
        with replacing(output, overwrite=overwrite, sources=(labels,)) as beside:
            beside.write_text(_table(results), encoding="utf-8")
    summaries = _summaries(results, names)
    if as_json:
        rows = [dict(zip(COLUMNS, r.row(), strict=True)) for r in results]
        print_json({"scorers": summaries, "results": rows} | ({} if output is None else {"output": output}))
        return
    print(
        f"{len(known)} stacks; t0: where the clearest slice was found, t1: where a neighbour of it, acc %: either; "
        "accepted: where a slice within lo to hi; ρ: Spearman's with the labels, mean; s: seconds in all"
    )
    print(f"{'scorer':<28} {'t0':>4} {'t1':>4} {'acc %':>6} {'accepted':>8} {'ρ':>7} {'s':>7}")
    for s in summaries:
        lacking = f"  {s['failed']} failed: {s['error']}" if s["failed"] else ""
        if s["stacks"]:
            print(
                f"{s['scorer']:<28} {s['t0']:>4} {s['t1']:>4} {100 * s['acc']:>6.1f} {s['accepted']:>8} "
                f"{s['rho']:>7.3f} {s['seconds']:>7.2f}{lacking}"
            )
        else:
            print(f"{s['scorer']:<28}{lacking}")


def _named(folder: Path, known: dict[Place, Truth]) -> dict[str, Path]:
    """Where each labelled stack lies."""
    if not folder.is_dir():
        raise InputError(f"'{folder}' is no folder: give the folder that holds the stacks.")
    there: dict[str, Path] = {}
    for path, name in output_names(find_stacks([str(folder)], folder)).items():
        there |= {name.casefold(): path, path.name.casefold(): path}
    wanted = {place.stack for place in known}
    missing = sorted(name for name in wanted if name.casefold() not in there)
    if missing:
        raise InputError(f"'{folder}' holds no stack '{missing[0]}': name it in the labels as its file is called.")
    return {name: there[name.casefold()] for name in wanted}


def _try(
    path: Path,
    place: Place,
    truth: Truth,
    scorer: str,
    how: tuple[int, bool, str | None, opt.DeviceName],
    *,
    verbose: bool,
) -> Result:
    """Score one stack by one scorer; what it can't do is told, and stops none of the others."""
    from napari_focusstack.core.agreement import agreement
    from napari_focusstack.core.pipeline import score_job
    from napari_focusstack.core.settings import ScoreSettings, settings_from

    patch, whole_field, channel, device = how
    given = {"scorer": scorer, "patch_px": patch, "specimen": not whole_field, "device": device.value}
    begin = clock.perf_counter()
    try:
        chosen = opt.choose(
            [path],
            z_axis=None,
            z_step=None,
            z_positions=None,
            pixel_size=None,
            time=place.time,
            position=place.position,
        )
        job = score_job(
            chosen.stack,
            settings_from(ScoreSettings, given),
            channel=0 if channel is None else channel,
            time=chosen.time,
            position=chosen.position,
        )
        report = run(job, verbose=verbose)
    except InputError as error:
        return Result(place, scorer, truth, None, clock.perf_counter() - begin, str(error))
    n = len(report.values)
    if truth.accepted[1] >= n or (truth.scores is not None and len(truth.scores) != n):
        raise InputError(f"The label of '{place.stack}' does not fit its {n} slices: slices count from 0.")
    found = agreement(report.values, truth, found=report.decision.best)
    return Result(place, scorer, truth, found, clock.perf_counter() - begin)


def _summaries(results: Sequence[Result], names: Sequence[str]) -> list[dict[str, Any]]:
    """The paper's columns for each scorer, the best first."""
    from napari_focusstack.core.agreement import summary

    told = []
    for name in names:
        own = [r for r in results if r.scorer == name]
        done = [r.agreement for r in own if r.agreement is not None]
        failed = [r.error for r in own if r.agreement is None]
        one: dict[str, Any] = {"scorer": name, "stacks": len(done), "failed": len(failed)}
        if done:
            s = summary(done)
            one |= {"t0": s.t0, "t1": s.t1, "acc": s.acc, "accepted": s.accepted, "rho": s.rho}
        one |= {"seconds": sum(r.seconds for r in own), "error": failed[0] if failed else ""}
        told.append(one)
    return sorted(told, key=lambda s: tuple(-s.get(k, -1) for k in ("acc", "t0", "rho")))


def _table(results: Sequence[Result]) -> str:
    out = io.StringIO()
    table = csv.writer(out, lineterminator="\n")
    table.writerow(COLUMNS)
    table.writerows(result.row() for result in results)
    return out.getvalue()
