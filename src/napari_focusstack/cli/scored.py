"""Scoring what a command line names, and telling what came out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_focusstack.cli import options as opt
from napari_focusstack.cli.show import print_caution, run

if TYPE_CHECKING:
    from napari_focusstack.core.report import FocusReport


def score_chosen(
    chosen: opt.Chosen,
    scorer: str | None,
    patch: int,
    *,
    whole_field: bool,
    channel: str | None,
    device: opt.DeviceName,
    verbose: bool,
) -> FocusReport:
    """Score the series that was chosen."""
    from napari_focusstack.core.pipeline import score_job
    from napari_focusstack.core.settings import ScoreSettings, settings_from

    given = {"patch_px": patch, "specimen": not whole_field, "device": device.value} | (
        {} if scorer is None else {"scorer": scorer}
    )
    settings = settings_from(ScoreSettings, given)
    job = score_job(
        chosen.stack, settings, channel=0 if channel is None else channel, time=chosen.time, position=chosen.position
    )
    return run(job, verbose=verbose)


def told_scores(report: FocusReport) -> dict[str, Any]:
    """What ``score --json`` tells."""
    found = report.decision
    return {
        "scorer": report.scorer,
        "units": report.units,
        "scores": report.values,
        "best": found.best,
        "peak": found.peak,
        "peak_um": found.peak_um,
        "confidence": found.confidence,
        "good": found.good,
        "peaks": found.peaks,
        "reason": found.reason,
        **report.extras,
    }


def print_curve(report: FocusReport, *, verbose: bool) -> None:
    """Print the curve for people: a line a slice, and the decision."""
    values, found = report.values, report.decision
    low, high = float(values.min()), float(values.max())
    for z, value in enumerate(values):
        height = "" if report.heights_um is None else f"{report.heights_um[z]:10.2f} µm"
        bar = "#" * round(40 * (value - low) / (high - low)) if high > low else ""
        mark = "  <- best" if z == found.best else ""
        print(f"{z:4d}{height}  {value:11.5g}  {bar}{mark}")
    if high > low:
        print(f"bars from the lowest value, {low:.5g}, to the highest")
    shares = report.extras.get("in_focus", ())
    if len(values) == 1 and shares and shares[0] is not None:
        print(
            f"{'in focus' if shares[0] > 0.5 else 'out of focus'}: {100 * shares[0]:.0f} % of what counts is in focus"
        )
    if verbose and "preset" in report.extras:
        print(f"seen as {report.extras['preset']}")
    certain = "" if found.best is None else f" (confidence {found.confidence:.2f})"
    print(f"{report.scorer} ({report.units}): {found.reason}{certain}")
    print_caution(report.caution)
