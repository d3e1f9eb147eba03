import asyncio

import pytest

from service.errors import InvalidImage
from service.pipeline.scope import RequestScope, gather_or_cancel


@pytest.mark.anyio
async def test_results_come_in_the_order_of_the_work() -> None:
    gate = asyncio.Event()

    async def slow() -> str:
        await gate.wait()
        return "slow"

    async def fast() -> str:
        gate.set()
        return "fast"

    assert await gather_or_cancel([slow(), fast()]) == ["slow", "fast"]
    assert await gather_or_cancel([]) == []


@pytest.mark.anyio
async def test_the_first_failure_ends_the_others_and_keeps_its_type() -> None:
    ended = asyncio.Event()

    async def waits() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async def fails() -> None:
        raise InvalidImage("broken")

    with pytest.raises(InvalidImage, match="broken"):
        await gather_or_cancel([waits(), fails()])
    assert ended.is_set()


def test_everything_is_given_back_once_in_reverse_and_told_how_it_ended() -> None:
    given: list[tuple[str, bool]] = []
    scope = RequestScope()
    scope.on_exit(lambda finished: given.append(("permit", finished)))
    scope.on_exit(lambda finished: given.append(("lease", finished)))
    scope.close(finished=False)
    scope.close(finished=True)
    assert given == [("lease", False), ("permit", False)]
