"""`focusstack`: every job of the core from the command line; no screen needed."""

from napari_focusstack.cli.main import main

__all__ = ["main"]
