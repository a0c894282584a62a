"""Colours of channels: what is told decides, and no two channels look alike."""

import pytest

from napari_focusstack.widgets.channel_colours import channel_colours


@pytest.mark.parametrize(
    ("names", "colours"),
    [
        (["DAPI", "GFP"], ["blue", "green"]),
        (["EGFP", "Hoechst 33342"], ["green", "blue"]),
        (["mCherry", "FITC", "DAPI"], ["red", "green", "blue"]),
        (["488", "561"], ["green", "red"]),
        (["AF405", "Alexa Fluor 488", "AF568", "AF647"], ["blue", "green", "red", "magenta"]),
        (["Cy3", "Cy5"], ["red", "magenta"]),
        (["Brightfield", "GFP"], ["gray", "green"]),
    ],
)
def test_dyes_and_lines_have_their_colour(names, colours):
    assert channel_colours(names) == colours


def test_the_emission_tells_where_the_name_does_not():
    assert channel_colours(["channel 0", "channel 1"], [0.461, 0.520]) == ["blue", "green"]
    assert channel_colours(["DAPI", "b"], [0.610, 0.610]) == ["blue", "red"]


def test_by_order_where_nothing_tells():
    assert channel_colours(["channel 0", "channel 1"]) == ["green", "magenta"]
    assert channel_colours(["a", "b", "c"], [None]) == ["cyan", "magenta", "yellow"]


def test_no_two_channels_look_alike_while_there_are_colours():
    for names in (["GFP", "GFP 2"], ["a", "GFP"], ["DAPI", "x", "y"], list("abcdefg")):
        assert len(set(channel_colours(names))) == len(names)
    assert len(channel_colours(["GFP"] * 12)) == 12
