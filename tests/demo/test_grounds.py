from __future__ import annotations

import math
from itertools import combinations

import numpy as np

from demo.draw import COLOURS
from demo.grounds import APART, GROUNDS, any_ground, standing_out


def test_on_a_ground_of_its_own_colour_a_shape_is_not_drawn_and_all_others_are() -> None:
    for name, colour in COLOURS.items():
        assert set(standing_out(colour)) == set(COLOURS) - {name}
    assert min(math.dist(a, b) for a, b in combinations(COLOURS.values(), 2)) > APART
    assert set(standing_out(GROUNDS["grey"])) == set(COLOURS)


def test_any_ground_leaves_colours_to_choose_from() -> None:
    rng = np.random.default_rng(0)
    grounds = [any_ground(rng) for _ in range(2000)]
    assert min(len(standing_out(ground)) for ground in grounds) >= 5
    assert all(0 <= part <= 255 for ground in grounds for part in ground)


def test_training_comes_near_every_ground_that_is_measured() -> None:
    rng = np.random.default_rng(0)
    grounds = [any_ground(rng) for _ in range(4000)]
    for name, measured in GROUNDS.items():
        near = sum(math.dist(measured, ground) < 60 for ground in grounds)
        assert near >= 10, f"{name}: {near} of {len(grounds)}"
