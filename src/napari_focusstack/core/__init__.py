"""Pixels: stacks, focus measures, decisions and fusion. Knows neither Qt, napari nor files."""
