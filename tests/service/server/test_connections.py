from __future__ import annotations

from service.server import Connections, Reason


class One:
    def __init__(self, connections: Connections) -> None:
        self.evicted = False
        self._connections = connections
        connections.opened(self)
        connections.waits(self)

    def evict(self) -> None:
        self.evicted = True


def test_the_one_that_has_waited_longest_makes_room() -> None:
    connections = Connections(3)
    one, two, three = (One(connections) for _ in range(3))
    connections.works(one)
    connections.waits(one)
    assert connections.room() and two.evicted
    assert not one.evicted and not three.evicted
    assert len(connections) == 2 and connections.room()


def test_a_request_in_progress_is_never_evicted() -> None:
    connections = Connections(2)
    both = [One(connections) for _ in range(2)]
    for each in both:
        connections.works(each)
    assert not connections.room()
    assert (connections.waiting, connections.active) == (0, 2)
    assert not any(each.evicted for each in both)


def test_each_end_is_told_with_its_reason() -> None:
    reasons: list[str] = []
    connections = Connections(1, reasons.append)
    one = One(connections)
    connections.ended(one, Reason.CLIENT)
    connections.refused()
    assert reasons == ["client", "refused"]
    assert len(connections) == connections.waiting == connections.active == 0


def test_reasons_are_labels() -> None:
    assert all(reason.isidentifier() for reason in Reason)
