from __future__ import annotations

from service.encoder.pressure import Pressure


class Queue:
    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def test_it_rises_above_the_bound_and_falls_below_half_of_it() -> None:
    queue = Queue()
    pressure = Pressure(4.0, queue)
    told = []
    for queue.seconds in (0.0, 4.0, 4.1, 3.9, 2.1, 2.0, 3.9, 4.1):
        told.append(pressure.high)
    assert told == [False, False, True, True, True, False, False, True]
