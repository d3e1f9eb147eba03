from __future__ import annotations

import numpy as np
import pytest

from demo.pool import Pool, Stock


@pytest.mark.parametrize("drawn", [1, 3, 4, 9])
def test_a_stock_that_starts_later_holds_what_it_would_hold_had_it_never_stopped(drawn: int) -> None:
    whole = Stock(7, 4, 1, 2, 0, "compact")
    whole.renew(drawn)
    late = Stock(7, 4, 1, 2, drawn, "compact")
    assert [one.scene for one in late.samples] == [one.scene for one in whole.samples]
    for stock in (whole, late):
        stock.renew(2)
    assert [one.scene for one in late.samples] == [one.scene for one in whole.samples]


def test_crowded_pictures_hold_enough_to_confuse() -> None:
    pool = Pool(7, 20, 0, 1, 0)
    picked = pool.crowded(np.random.default_rng(0), 30)
    assert len(picked) == 30 and all(len(one.scene.things) >= 3 for one in picked)
    assert pool.crowded(np.random.default_rng(0), 0) == []
