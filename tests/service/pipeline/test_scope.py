from service.pipeline.scope import Held


def test_everything_is_given_back_once_in_reverse_and_told_how_it_ended() -> None:
    given: list[tuple[str, bool]] = []
    held = Held()
    held.keep(lambda finished: given.append(("permit", finished)))
    held.keep(lambda finished: given.append(("lease", finished)))
    held.release(finished=False)
    held.release(finished=True)
    assert given == [("lease", False), ("permit", False)]
