from __future__ import annotations

import gc

from service.app.heap import settle_heap


def test_what_is_loaded_is_not_looked_at_again() -> None:
    loaded = [[number] for number in range(100)]
    try:
        settle_heap()
        looked_at = {id(it) for it in gc.get_objects()}
        assert not looked_at & {id(it) for it in loaded}
    finally:
        gc.unfreeze()
