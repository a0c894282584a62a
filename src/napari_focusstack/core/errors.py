"""The one exception that means: the user can mend this."""

from __future__ import annotations


class InputError(ValueError):
    """The input can't be used as it is.

    Its text is one sentence for the user: what was given, what is needed, what to do. The command line prints it
    and leaves with exit code 2; widgets show it as a notification. Every other exception is a fault of ours.

    Parameters
    ----------
    sentence : str
        The text.
    in_napari : str, optional
        The sentence for widgets, where what there is to do is done elsewise there.
    """

    def __init__(self, sentence: str = "", *, in_napari: str = "") -> None:
        super().__init__(sentence)
        self.in_napari = in_napari or sentence
