"""The door: runs a command and turns whatever goes wrong into one line and an exit code."""

from __future__ import annotations

import logging
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from types import FrameType

import typer

from napari_focusstack.cli import (  # noqa: F401  (add their commands)
    batch,
    deblur,
    evaluate,
    learn,
    masks,
    microscope,
    models,
    rings,
)
from napari_focusstack.cli.commands import app
from napari_focusstack.core.errors import InputError

OK, FAILED, BAD_INPUT, STOPPED = 0, 1, 2, 130

# typer has brought its own copy of click for some versions; both have this class.
UsageError: type[Exception] = typer.BadParameter.__bases__[0]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run `focusstack` with `arguments` (those of the process where not given) and exit.

    Exit codes: 0 done, 1 a failure of ours, 2 input or arguments that can't be used, 130 stopped by the user.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # consoles that can't print µ
    parser = logging.getLogger("tifffile")  # what matters of its complaints we say ourselves, in one line
    parser.propagate = False
    parser.addHandler(logging.NullHandler())
    signal.signal(signal.SIGTERM, _stop)
    sys.exit(_run(arguments))


def _stop(number: int, frame: FrameType | None) -> None:
    """Treat a request to end like Ctrl-C: unfinished files are removed on the way out."""
    raise KeyboardInterrupt


def _run(arguments: list[str]) -> int:
    try:
        code = app(arguments or ["--help"], prog_name="focusstack", standalone_mode=False)
        sys.stdout.flush()
        if code == STOPPED:  # typer has caught Ctrl-C itself
            raise KeyboardInterrupt
    except UsageError as error:
        message = error.format_message() if hasattr(error, "format_message") else str(error)
        return _complain(f"{message} See focusstack --help.", BAD_INPUT)
    except InputError as error:
        return _complain(str(error), BAD_INPUT)
    except (KeyboardInterrupt, typer.Abort):
        return _complain("stopped", STOPPED)
    except BrokenPipeError:  # the reader of our output (head, less) has enough: nothing to say
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except Exception as error:
        if {"-v", "--verbose"} & set(arguments):
            traceback.print_exc()
        return _complain(f"failed: {type(error).__name__}: {error} (-v tells more)", FAILED)
    return code if isinstance(code, int) else OK


def _complain(message: str, code: int) -> int:
    print("focusstack: " + " ".join(message.split()), file=sys.stderr)
    return code
