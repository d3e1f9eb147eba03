from __future__ import annotations

import torch

from demo.grounds import GREY
from demo.pairs import draw_pair, pair_tiles
from demo.world import TILE


def test_a_pair_shows_the_same_things_on_two_grounds() -> None:
    different = 0
    for number in range(30):
        seen, plain = draw_pair(3, number, 1.0)
        assert seen.shape == plain.shape == (len(seen), 3, TILE, TILE)
        if torch.equal(seen, plain):
            continue
        different += 1
        # a ground has one colour, so where it shows, both differ by about as much; things do not differ
        apart = (seen[-1].float() - plain[-1].float()).abs().amax(0)
        greyish = (plain[-1].float() - torch.tensor(GREY)[:, None, None]).abs().amax(0) < 50
        assert apart[~greyish].median() < apart[greyish].median()
    # pages of numbers keep their ground
    assert 20 < different < 30


def test_without_other_grounds_both_are_the_same_and_a_number_is_always_the_same_pair() -> None:
    for number in range(6):
        seen, plain = draw_pair(3, number, 0.0)
        assert torch.equal(seen, plain)
    again = draw_pair(3, 4, 0.7), draw_pair(3, 4, 0.7)
    assert torch.equal(again[0][0], again[1][0]) and torch.equal(again[0][1], again[1][1])


def test_the_tiles_of_several_pairs_stand_in_their_order() -> None:
    seen, plain = pair_tiles(3, range(4, 8, 2), 0.7)
    for together, at in ((seen, 0), (plain, 1)):
        assert torch.equal(together, torch.cat([draw_pair(3, number, 0.7)[at] for number in (4, 6)]))
