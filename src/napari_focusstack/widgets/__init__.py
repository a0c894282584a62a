"""The only rooms that know napari and Qt."""
