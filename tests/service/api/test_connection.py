import asyncio

import pytest
from starlette.requests import ClientDisconnect
from starlette.types import Message

from service.api.connection import while_connected
from service.errors import EngineFailed

pytestmark = pytest.mark.anyio


class Client:
    def __init__(self) -> None:
        self.gone = asyncio.Event()

    async def receive(self) -> Message:
        await self.gone.wait()
        return {"type": "http.disconnect"}


async def test_the_result_of_the_work() -> None:
    async def work() -> int:
        return 7

    before = asyncio.all_tasks()
    assert await while_connected(work(), Client().receive) == 7
    assert asyncio.all_tasks() == before


async def test_the_failure_of_the_work() -> None:
    async def work() -> None:
        raise EngineFailed("no")

    with pytest.raises(EngineFailed):
        await while_connected(work(), Client().receive)


@pytest.mark.parametrize("cleanup_fails", [False, True])
async def test_a_client_that_leaves_ends_the_work_and_waits_for_its_end(cleanup_fails: bool) -> None:
    client, cleaned = Client(), asyncio.Event()

    async def work() -> None:
        try:
            client.gone.set()
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            cleaned.set()
            if cleanup_fails:
                raise EngineFailed("on the way out")

    with pytest.raises(ClientDisconnect):
        await while_connected(work(), client.receive)
    assert cleaned.is_set()


async def test_being_cancelled_ends_the_work_too() -> None:
    started, ended = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    before = asyncio.all_tasks()
    task = asyncio.create_task(while_connected(work(), Client().receive))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()
    assert asyncio.all_tasks() == before
