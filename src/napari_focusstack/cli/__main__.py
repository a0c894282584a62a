"""``python -m napari_focusstack.cli``: `focusstack` where its script is not on the path."""

from napari_focusstack.cli.main import main

main()
