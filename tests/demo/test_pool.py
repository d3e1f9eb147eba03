from __future__ import annotations

import pytest

from demo.pool import Stock


@pytest.mark.parametrize("drawn", [1, 3, 4, 9])
def test_a_stock_that_starts_later_holds_what_it_would_hold_had_it_never_stopped(drawn: int) -> None:
    whole = Stock(7, 4, 1, 2, 0, "compact")
    whole.renew(drawn)
    late = Stock(7, 4, 1, 2, drawn, "compact")
    assert [one.scene for one in late.samples] == [one.scene for one in whole.samples]
    for stock in (whole, late):
        stock.renew(2)
    assert [one.scene for one in late.samples] == [one.scene for one in whole.samples]
