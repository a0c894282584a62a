"""Focus analysis and focus stacking of z-stacks, in napari, from the command line and from Python."""

__version__ = "0.1.0"
