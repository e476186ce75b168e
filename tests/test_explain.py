"""Shapley values against brute force over all orders, and their axioms."""

from itertools import permutations

import numpy as np
import pytest

from llnm.explain import exact_shapley, sampled_shapley


def random_game(players, seed=0):
    """A game whose value of every coalition is drawn at random."""
    worth = np.random.default_rng(seed).normal(size=2**players)
    return lambda coalitions: worth[coalitions @ (1 << np.arange(players))]


def by_all_orders(value, players):
    """The definition: the mean gain over every order in which the players may arrive."""
    shares = np.zeros(players)
    orders = list(permutations(range(players)))
    for order in orders:
        present = np.zeros(players, dtype=bool)
        before = value(present[None])[0]
        for player in order:
            present[player] = True
            after = value(present[None])[0]
            shares[player] += after - before
            before = after
    return shares / len(orders)


@pytest.mark.parametrize("players", [1, 2, 5])
def test_exact_values_equal_the_mean_over_all_orders(players):
    game = random_game(players)
    assert exact_shapley(game, players) == pytest.approx(by_all_orders(game, players), abs=1e-12)


@pytest.mark.parametrize("method", [exact_shapley, sampled_shapley])
def test_values_add_up_to_what_all_inputs_change(method):
    game = random_game(8)
    everybody, nobody = game(np.array([[True] * 8, [False] * 8]))
    assert method(game, 8).sum() == pytest.approx(everybody - nobody, abs=1e-12)


@pytest.mark.parametrize("method", [exact_shapley, sampled_shapley])
def test_an_additive_game_gives_every_player_its_own_weight_and_a_dummy_nothing(method):
    weights = np.array([0.3, -0.2, 0.0, 0.5, 0.1, 0.0, -0.4, 0.05])
    assert method(lambda c: c @ weights, 8) == pytest.approx(weights, abs=1e-12)


def test_players_that_do_the_same_get_the_same():
    shares = exact_shapley(lambda c: np.minimum(c[:, 0] + c[:, 1] + 2.0 * c[:, 2], 2.0), 3)
    assert shares[0] == pytest.approx(shares[1])
    assert shares[2] > shares[0]


def test_sampling_few_players_is_exact():
    game = random_game(3)
    assert sampled_shapley(game, 3) == pytest.approx(exact_shapley(game, 3), abs=1e-12)
