"""Three real stacks that come with the package; sample_data/ATTRIBUTION.md says from whom and under which licence."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from napari_focusstack.core.registry import Registry
from napari_focusstack.core.stack import Stack
from napari_focusstack.io.read import read_stack


@dataclass(frozen=True)
class Sample:
    """A bundled stack.

    Attributes
    ----------
    name : str
        What to call it.
    title : str
        What it shows, for menus.
    file : str
        Its file in sample_data.
    """

    name: str
    title: str
    file: str

    @property
    def path(self) -> Path:
        """Where the file lies: within an installed package, or at the root of a checkout."""
        package = Path(__file__).resolve().parents[1]
        inside = package / "sample_data" / self.file
        return inside if inside.is_file() else package.parents[1] / "sample_data" / self.file


SAMPLES: Registry[Sample] = Registry("sample")
SAMPLES.add(Sample("organoids", "Intestinal organoids at many depths (brightfield)", "organoids.ome.tif"))
SAMPLES.add(Sample("beads", "Fluorescent beads", "beads.ome.tif"))
SAMPLES.add(Sample("nucleus", "A nucleus (widefield fluorescence)", "nucleus.ome.tif"))


def sample_stack(name: str) -> Stack:
    """Read a bundled stack by its name in `SAMPLES`.

    Raises
    ------
    InputError
        If there is no such sample.
    """
    return read_stack(SAMPLES[name].path)
