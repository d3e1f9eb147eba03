import asyncio
import signal
import socket

import httpx
import pytest
from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from service.app.server import Admin, DrainingServer, listen, make_server
from service.errors import ConfigurationError
from service.pipeline.admission import Admission
from service.server import ConnectionLimits
from service.telemetry.metrics import Metrics
from tests.waiting import DEADLOCK

pytestmark = pytest.mark.anyio


class Site:
    """An application whose one route answers when it is told to, and its server."""

    def __init__(
        self, drain_timeout: float = 60.0, idle_timeout: float = 75, admin: Admin | None = None
    ) -> None:
        self.admission = Admission(max_inflight=4, max_visual_tokens=1)
        self.entered, self.go_on = asyncio.Event(), asyncio.Event()
        api = FastAPI()

        @api.get("/")
        async def slow() -> str:
            with self.admission.visit():
                self.entered.set()
                await self.go_on.wait()
                return "done"

        self.server: DrainingServer = make_server(
            api,
            self.admission,
            Metrics(CollectorRegistry()),
            log_level="error",
            drain_timeout=drain_timeout,
            max_connections=8,
            limits=ConnectionLimits(idle_timeout=idle_timeout),
            admin=admin,
        )
        self.server._loop = asyncio.get_running_loop()

    def told_to_stop(self) -> None:
        self.server.handle_exit(signal.SIGTERM, None)
        self.server._captured_signals.clear()


async def test_a_running_answer_ends_before_the_server_does() -> None:
    site = Site()
    with listen("127.0.0.1", 0) as listening:
        serving = asyncio.create_task(site.server._serve([listening]))
        async with httpx.AsyncClient(timeout=DEADLOCK) as client:
            answer = asyncio.create_task(client.get(f"http://127.0.0.1:{listening.getsockname()[1]}"))
            await site.entered.wait()
            site.told_to_stop()
            assert site.admission.draining
            assert not site.server.should_exit
            site.go_on.set()
            assert (await answer).json() == "done"
        await serving


async def test_no_part_of_an_answer_waits_for_the_clients_acknowledgement() -> None:
    site = Site()
    site.go_on.set()
    with listen("127.0.0.1", 0) as listening:
        serving = asyncio.create_task(site.server._serve([listening]))
        async with httpx.AsyncClient(timeout=DEADLOCK) as client:
            await client.get(f"http://127.0.0.1:{listening.getsockname()[1]}")
            (connection,) = site.server.server_state.connections
            accepted = connection.transport.get_extra_info("socket")
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        site.told_to_stop()
        await serving


async def test_a_connection_without_a_request_is_kept_as_long_as_it_is_told() -> None:
    site = Site(idle_timeout=4000)
    site.go_on.set()
    with listen("127.0.0.1", 0) as listening:
        serving = asyncio.create_task(site.server._serve([listening]))
        async with httpx.AsyncClient(timeout=DEADLOCK) as client:
            await client.get(f"http://127.0.0.1:{listening.getsockname()[1]}")
            (connection,) = site.server.server_state.connections
            left = connection.timeout_keep_alive_task.when() - asyncio.get_running_loop().time()
            assert 3000 < left <= 4000
        site.told_to_stop()
        await serving


async def test_the_admin_server_answers_until_the_first_has_ended_and_not_longer() -> None:
    api = FastAPI()
    handlers = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]

    @api.get("/")
    async def page() -> str:
        return "admin"

    with listen("127.0.0.1", 0) as listening, listen("127.0.0.1", 0) as beside:
        first, admin = (f"http://127.0.0.1:{each.getsockname()[1]}" for each in (listening, beside))
        site = Site(admin=Admin(api, beside))
        serving = asyncio.create_task(site.server._serve([listening]))
        async with httpx.AsyncClient(timeout=DEADLOCK) as client:
            answer = asyncio.create_task(client.get(first))
            await site.entered.wait()
            site.told_to_stop()
            assert (await client.get(admin)).json() == "admin"
            # signals are the first server's business
            assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)] == handlers
            site.go_on.set()
            assert (await answer).json() == "done"
            await serving
            with pytest.raises(httpx.TransportError):
                await client.get(admin)


def test_a_port_that_is_taken_is_told_with_its_own_flag() -> None:
    with listen("127.0.0.1", 0) as taken, pytest.raises(ConfigurationError, match="--admin-port"):
        listen("127.0.0.1", taken.getsockname()[1], "--admin-port")


async def test_an_answer_that_does_not_end_is_not_waited_for_longer_than_was_said() -> None:
    site = Site(drain_timeout=0.01)
    with site.admission.visit():
        site.told_to_stop()
        while not site.server.should_exit:
            await asyncio.sleep(0)


async def test_a_second_signal_ends_it_at_once() -> None:
    site = Site()
    with site.admission.visit():
        site.told_to_stop()
        assert not site.server.should_exit
        site.told_to_stop()
        assert site.server.should_exit


def test_an_address_that_is_taken_is_told_with_the_knob() -> None:
    with listen("127.0.0.1", 0) as taken, pytest.raises(ConfigurationError, match="--port"):
        listen("127.0.0.1", taken.getsockname()[1])


def test_an_address_that_is_not_ours_is_told_too() -> None:
    with pytest.raises(ConfigurationError, match=r"cannot listen on 192\.0\.2\.1"):
        listen("192.0.2.1", 0)


def test_any_address_of_the_machine_can_be_listened_on() -> None:
    with listen("0.0.0.0", 0) as listening:
        assert listening.family is socket.AF_INET
