"""The door: runs a command and turns whatever goes wrong into one line and an exit code."""

from __future__ import annotations

import logging
import os
import re
import signal
import sys
import traceback
from collections.abc import Sequence
from types import FrameType
from typing import Any

import typer

from napari_focusstack.cli import (  # noqa: F401  (add their commands)
    batch,
    deblur,
    evaluate,
    learn,
    lists,
    masks,
    microscope,
    models,
    quality,
    rings,
)
from napari_focusstack.cli.commands import app
from napari_focusstack.cli.show import MORE, failure
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
        _check_empty(arguments)
        code = app(arguments or ["--help"], prog_name="focusstack", standalone_mode=False)
        sys.stdout.flush()
        if code == STOPPED:  # typer has caught Ctrl-C itself
            raise KeyboardInterrupt
    except UsageError as error:
        asked = getattr(getattr(error, "ctx", None), "command_path", "focusstack")
        return _complain(f"{_told(error).rstrip('. ')}. See {asked} --help.", BAD_INPUT)
    except InputError as error:
        return _complain(str(error), BAD_INPUT)
    except (KeyboardInterrupt, typer.Abort):
        return _complain("stopped", STOPPED)
    except BrokenPipeError:  # the reader of our output (head, less) has enough: nothing to say
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except Exception as error:
        verbose = bool({"-v", "--verbose"} & set(arguments))
        if verbose:
            traceback.print_exc()
        return _complain(failure(error) + ("" if verbose else MORE), FAILED)
    return code if isinstance(code, int) else OK


def _check_empty(arguments: Sequence[str]) -> None:
    """Refuse an empty name, which would stand for the current folder: a variable of the shell was not set."""
    for before, argument in zip(["focusstack", *arguments], arguments, strict=False):
        if not argument.strip():
            raise InputError(f"The argument after '{before}' is empty: give a name or a value there, or leave it out.")
        if re.fullmatch(r"--[\w-]+=\s*", argument):
            raise InputError(f"'{argument}' has no value: give one, or leave the option out.")


def _told(error: Any) -> str:
    """What is wrong with an argument; a word in a number's place is shown."""
    wrong: list[Any] = getattr(error.__cause__, "errors", list)()
    kind = wrong[0].get("type", "") if wrong else ""
    numbers = {"float_parsing": "number", "int_parsing": "whole number", "int_from_float": "whole number"}
    if kind not in numbers or getattr(error, "param", None) is None:
        return str(error.format_message() if hasattr(error, "format_message") else error)
    option = next(iter(error.param.opts), error.param.name)
    wanted = f"a {numbers[kind]}" if error.param.nargs == 1 else f"{error.param.nargs} {numbers[kind]}s"
    return f"'{wrong[0]['input']}' was given for {option}: give {wanted}."


def _complain(message: str, code: int) -> int:
    print("focusstack: " + " ".join(message.split()), file=sys.stderr)
    return code
