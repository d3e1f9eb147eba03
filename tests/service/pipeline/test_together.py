import asyncio

import pytest

from service.errors import InvalidImage
from service.pipeline.together import together

pytestmark = pytest.mark.anyio


async def test_results_come_in_the_order_of_the_work() -> None:
    gate = asyncio.Event()

    async def slow() -> str:
        await gate.wait()
        return "slow"

    async def fast() -> str:
        gate.set()
        return "fast"

    assert await together([slow(), fast()]) == ["slow", "fast"]
    assert await together([]) == []


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
        await together([waits(), fails()])
    assert ended.is_set()
