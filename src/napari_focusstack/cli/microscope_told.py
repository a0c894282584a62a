"""What `focusstack autofocus` and `focusstack scan` write and say."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_focusstack.cli.show import print_json, run

if TYPE_CHECKING:
    from napari_focusstack.core.autofocus import Focused
    from napari_focusstack.microscope.rig import Rig
    from napari_focusstack.microscope.scan import Scan


def write_scan(taken: Scan, output: Path, mosaic: Path | None, *, overwrite: bool, verbose: bool) -> list[Path]:
    """A file for each field that was taken, numbered as planned, and the mosaic: all of them or none."""
    from napari_focusstack.io.write import Output, position_paths, write_job

    planned = position_paths(output, len(taken.numbers) + len(taken.lost))
    said = [{"Note": note} if note else {} for note in taken.notes]
    outputs = [Output(planned[k], taken.stack.series(p=p), said[p]) for p, k in enumerate(taken.numbers)]
    if mosaic is not None:
        outputs.append(Output(mosaic, taken.mosaic(), {}))
    return run(write_job(outputs, overwrite=overwrite), verbose=verbose)


def tell_scan(taken: Scan, written: list[Path], mosaic: Path | None, *, method: str | None, as_json: bool) -> None:
    """Print the fields, those that were not taken, and what was written."""
    rows = zip(taken.numbers, taken.places_um, taken.heights_um, taken.found, taken.notes, written, strict=False)
    fields = [
        {"field": k, "y_um": y, "x_um": x, "z_um": z, "in_focus": ok, "note": note, "output": f}
        for k, (y, x), z, ok, note, f in rows
    ]
    if as_json:
        lost = [vars(one) for one in taken.lost]
        print_json({"method": method, "fields": fields, "lost": lost, "ended": taken.ended, "mosaic": mosaic})
    else:
        for one in fields:
            told = one["note"] or ("in focus" if method else "")
            y, x, z = (round(float(one[key]), d) + 0.0 for key, d in (("y_um", 1), ("x_um", 1), ("z_um", 2)))  # no -0.0
            where = f"y {y:.1f}, x {x:.1f}, z {z:.2f} µm"
            # People count from 1, files from 0: the file's name stands beside.
            print(f"field {one['field'] + 1} ({one['output'].name}): {where} {told}".rstrip())
        for path in written:
            print(f"wrote {path}")
    for missed in taken.missed(first=1):
        print(missed[0].lower() + missed[1:], file=sys.stderr)
    if taken.ended:
        print(f"the scan did not run to its end: {taken.ended}", file=sys.stderr)


def tell_focused(found: Focused, rig: Rig, written: Path | None, *, as_json: bool) -> None:
    """Print how autofocus ended, and what was written."""
    if as_json:
        print_json(_told(found, rig) | ({} if written is None else {"output": written}))
        return
    verdict = f"in focus at {found.z_um:.2f} µm" if found.found else f"not found, back at {found.z_um:.2f} µm"
    likely = "" if found.likely_um is None else " Focus lies between {:.2f} and {:.2f} µm.".format(*found.likely_um)
    print(f"{verdict}: {len(found.steps)} images, {found.seconds:.1f} s by {found.policy}. {found.reason}{likely}")
    if written is not None:
        print(f"wrote {written}")


def _told(found: Focused, rig: Rig) -> dict[str, Any]:
    """The result as plain values."""
    steps = [
        {
            "seconds": round(step.seconds, 4),
            "z_um": step.z_um,
            "phase": step.phase,
            "note": step.note,
            "index": step.reading.index,
            "defocus_um": step.reading.defocus_um,
            "value": step.reading.value,
            "certainty": step.reading.certainty,
            "evidence": step.reading.evidence,
        }
        for step in found.steps
    ]
    return {
        "method": found.policy,
        "found": found.found,
        "z_um": found.z_um,
        "likely_um": found.likely_um,
        "start_um": found.start_um,
        "images": len(found.steps),
        "seconds": round(found.seconds, 4),
        "depth_of_field_um": rig.info.depth_of_field_um,
        "limits_um": rig.limits_um,
        "reason": found.reason,
        "steps": steps,
    }
