"""Properties of the votes of patches, and of the focus between slices."""

import numpy as np
import pytest

from napari_focusstack.core import votes
from napari_focusstack.core.votes import DISTANCES, VOTES, ImageDistance, certainty, zero_crossing


def distributions(n=40, seed=0, sharpness=4.0):
    logits = sharpness * np.random.default_rng(seed).normal(size=(n, 7))
    p = np.exp(logits)
    return p / p.sum(axis=1, keepdims=True)


def one_hot(distance):
    return np.eye(7)[DISTANCES.index(distance)]


def test_certainty_is_1_for_one_class_0_for_all_alike_and_between_otherwise():
    assert certainty(one_hot(2)) == 1
    assert certainty(np.full(7, 1 / 7)) == pytest.approx(0, abs=1e-12)
    between = certainty(distributions())
    assert ((between > 0) & (between < 1)).all()


def test_certainty_falls_as_a_distribution_is_mixed_with_chance():
    p = distributions()
    mixed = [certainty((1 - share) * p + share / 7) for share in (0, 0.3, 0.6, 0.9)]
    assert (np.diff(mixed, axis=0) < 0).all()


@pytest.mark.parametrize("vote", VOTES.values(), ids=VOTES)
def test_a_vote_is_a_distribution(vote):
    found = vote(distributions())
    assert found.shape == (7,)
    assert found.min() >= 0
    assert found.sum() == pytest.approx(1)


@pytest.mark.parametrize("vote", VOTES.values(), ids=VOTES)
def test_patches_that_agree_have_their_way(vote):
    np.testing.assert_allclose(vote(np.stack([one_hot(-2)] * 5)), one_hot(-2))


@pytest.mark.parametrize("vote", VOTES.values(), ids=VOTES)
def test_the_order_of_the_patches_does_not_matter(vote):
    p = distributions()
    np.testing.assert_allclose(vote(p), vote(p[::-1]))


@pytest.mark.parametrize("vote", VOTES.values(), ids=VOTES)
def test_a_patch_of_weight_0_does_not_vote_and_one_of_weight_2_votes_twice(vote):
    p = distributions(4)
    np.testing.assert_allclose(vote(p, np.array([1, 2, 0, 1])), vote(p[[0, 1, 1, 3]]))


@pytest.mark.parametrize("vote", VOTES.values(), ids=VOTES)
def test_where_nothing_counts_all_classes_are_alike(vote):
    np.testing.assert_allclose(vote(distributions(3), np.zeros(3)), np.full(7, 1 / 7))


def test_many_uncertain_patches_outvote_one_that_knows_by_hard_voting_only():
    doubtful = np.full(7, 0.13)
    doubtful[0] = 1 - doubtful[1:].sum()
    p = np.stack([*[doubtful] * 6, one_hot(1)])
    assert DISTANCES[votes.hard_vote(p).argmax()] == -3
    assert DISTANCES[votes.certainty_vote(p).argmax()] == 1


def test_linear_voting_stands_between_counting_heads_and_believing_the_certain():
    sure, doubtful = 0.9 * one_hot(1) + 0.1 / 7, 0.3 * one_hot(-1) + 0.1
    p = np.stack([doubtful, doubtful, sure])
    share = {name: vote(p)[DISTANCES.index(1)] for name, vote in VOTES.items()}
    assert share["hard"] < share["linear"] < share["certainty"]


def test_an_image_has_class_index_and_certainty():
    image = ImageDistance.of(np.stack([one_hot(2), 0.5 * one_hot(2) + 0.5 * one_hot(1)]).reshape(1, 2, 7))
    assert image.distance == 2
    assert 1.5 < image.index < 2
    assert 0 < image.certainty < 1
    assert ImageDistance.of(np.full((2, 2, 7), 1 / 7)).certainty == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("focus", [2.0, 3.3, 4.75])
def test_the_crossing_of_a_straight_line_is_its_zero(focus):
    index = 0.7 * (np.arange(8) - focus)
    found = zero_crossing(index, np.ones(8))
    assert found is not None
    assert found.slice == pytest.approx(focus)
    assert found.rising


def test_a_falling_index_crosses_at_the_same_place_and_says_that_it_falls():
    index = np.array([2.9, 2.0, 1.2, 0.4, -0.8, -1.9])
    there, back = zero_crossing(index, np.ones(6)), zero_crossing(-index, np.ones(6))
    assert there is not None
    assert back is not None
    assert there.slice == pytest.approx(back.slice)
    assert (there.rising, back.rising) == (False, True)


def test_one_wrong_side_far_out_does_not_move_the_crossing():
    index = np.array([-2.9, -2.2, 1.0, -1.8, -0.6, 0.7, 1.6, 2.5])
    found = zero_crossing(index, np.array([1, 1, 0.2, 1, 1, 1, 1, 1]))
    assert found is not None
    assert 4 < found.slice < 5


@pytest.mark.parametrize("index", [np.array([0.5, 1.0, 2.0]), np.array([-2.0, -1.0, -0.3]), np.array([0.4])])
def test_a_series_on_one_side_has_no_crossing(index):
    assert zero_crossing(index, np.ones(len(index))) is None


def test_slices_without_an_answer_are_passed_over():
    index = np.array([2.0, 1.0, 0.0, -1.0, -2.0])
    assert zero_crossing(index, np.array([1, 1, 0, 1, 1])).slice == pytest.approx(2)
    assert zero_crossing(index, np.array([1, 0, 0, 0, 1])) is None
