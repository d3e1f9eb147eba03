"""The engine dies, is stuck, or is asked for nobody any more; the service is told to stop."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from benchmarks.equality import body, over_http
from demo.cases import Case, draw_cases
from tests.e2e.server import Server, serving

pytestmark = pytest.mark.e2e
ATTEMPTS = 2000


async def settled(server: Server, client: httpx.AsyncClient, case: Case) -> tuple[int, str]:
    """(status, answer or error code) of one request; every request ends."""
    reply = await client.post("/v1/chat/completions", json=body(case))
    if reply.status_code == 200:
        return 200, str(reply.json()["choices"][0]["message"]["content"])
    return reply.status_code, str(reply.json()["error"]["code"])


async def under_load(server: Server, cases: list[Case]) -> list[tuple[int, str]]:
    """Eight clients; the engine is killed when a quarter of the answers are there."""
    gate = asyncio.Semaphore(8)
    done = 0

    async def one(client: httpx.AsyncClient, case: Case) -> tuple[int, str]:
        nonlocal done
        async with gate:
            result = await settled(server, client, case)
        done += 1
        if done == len(cases) // 4:
            for pid in server.engine_processes():
                os.kill(pid, signal.SIGKILL)
        return result

    async with httpx.AsyncClient(base_url=server.url, timeout=120) as client:
        return list(await asyncio.gather(*(one(client, case) for case in cases)))


def test_an_engine_killed_under_load_comes_back_and_nobody_is_told_a_wrong_thing(server: Server) -> None:
    cases = [case for case in draw_cases(120, seed=21) if case.kind != "chat"]
    right = asyncio.run(over_http(server.url, cases, 4))
    killed = server.engine_processes()
    assert killed
    results = asyncio.run(under_load(server, cases))
    assert {status for status, _ in results} <= {200, 503}
    assert any(status == 503 for status, _ in results)
    wrong = [i for i, (status, answer) in enumerate(results) if status == 200 and answer != right[i]]
    assert len(wrong) <= 1, wrong
    server.wait_ready()
    assert server.metric("patchbay_engine_restarts_total") >= 1
    assert not set(killed) & set(server.engine_processes())
    again = asyncio.run(over_http(server.url, cases[:20], 4))
    assert sum(a != b for a, b in zip(again, right[:20], strict=True)) <= 1


def test_a_refusal_while_the_engine_is_down_says_when_to_come_back(server: Server) -> None:
    for pid in server.engine_processes():
        os.kill(pid, signal.SIGKILL)
    for _ in range(ATTEMPTS):
        reply = httpx.post(f"{server.url}/v1/chat/completions", json=body(draw_cases(1, 2)[0]), timeout=60)
        if reply.status_code == 503:
            break
    assert reply.status_code == 503
    assert reply.json()["error"]["code"] == "engine_unavailable"
    assert int(reply.headers["retry-after"]) >= 1
    assert not server.ready()
    server.wait_ready()


def test_an_engine_that_is_stuck_while_its_server_answers_is_replaced(server: Server) -> None:
    case = draw_cases(1, 2)[0]
    right = asyncio.run(over_http(server.url, [case], 1))
    restarts, stalls = (
        server.metric("patchbay_engine_restarts_total"),
        server.metric("patchbay_engine_stalls_total"),
    )
    (core,) = server.engine_core()
    os.kill(core, signal.SIGSTOP)
    # a request that it already has ends too, and is told when to come back
    reply = httpx.post(f"{server.url}/v1/chat/completions", json=body(case), timeout=120)
    assert (reply.status_code, reply.json()["error"]["code"]) == (503, "engine_unavailable")
    assert int(reply.headers["retry-after"]) >= 1
    server.wait_ready()
    assert core not in server.engine_core()
    assert server.metric("patchbay_engine_stalls_total") == stalls + 1
    assert server.metric("patchbay_engine_restarts_total") == restarts + 1
    assert asyncio.run(over_http(server.url, [case], 1)) == right


def test_a_request_in_flight_at_two_deaths_is_refused_and_others_are_not(server: Server) -> None:
    deadly = {**body(draw_cases(1, 3)[0]), "stream": True, "max_tokens": 3000, "ignore_eos": True, "seed": 1}
    for _ in range(2):
        server.wait_ready()
        with httpx.stream("POST", f"{server.url}/v1/chat/completions", json=deadly, timeout=120) as reply:
            assert reply.status_code == 200
            lines = reply.iter_lines()
            next(lines)
            for pid in server.engine_processes():
                os.kill(pid, signal.SIGKILL)
            assert '"code":"engine_unavailable"' in [line for line in lines if line][-1].replace(
                '": "', '":"'
            )
    server.wait_ready()
    refused = httpx.post(f"{server.url}/v1/chat/completions", json=deadly, timeout=120)
    assert (refused.status_code, refused.json()["error"]["code"]) == (422, "request_blocked")
    assert server.metric("patchbay_requests_blocked_total") == 1
    other = httpx.post(f"{server.url}/v1/chat/completions", json=body(draw_cases(1, 2)[0]), timeout=120)
    assert other.status_code == 200


def test_a_seeded_request_whose_prompt_takes_several_steps_does_no_harm(server: Server) -> None:
    """On a CPU, vLLM alone dies of it."""
    restarts = server.metric("patchbay_engine_restarts_total")
    asked = {
        "messages": [{"role": "user", "content": "What is it? " * 1000}],
        **{"seed": 5, "temperature": 1.0, "max_tokens": 8},
    }
    answers = [
        httpx.post(f"{server.url}/v1/chat/completions", json=asked, timeout=120).json() for _ in range(2)
    ]
    assert all(answer["usage"]["prompt_tokens"] > 2048 for answer in answers)
    # the second comes from the prefix cache, in one step: its draws must be the same
    said, again = (answer["choices"][0]["message"]["content"] for answer in answers)
    assert said == again
    assert server.metric("patchbay_engine_restarts_total") == restarts


def test_a_client_that_leaves_mid_stream_stops_the_engine(server: Server) -> None:
    request = {**body(draw_cases(1, 3)[0]), "stream": True, "max_tokens": 3000, "ignore_eos": True}
    with httpx.stream("POST", f"{server.url}/v1/chat/completions", json=request, timeout=60) as reply:
        lines = reply.iter_lines()  # kept: closing it would close the connection
        assert next(lines).startswith("data: ")
        becomes(1, lambda: server.engine_metric("vllm:num_requests_running"))
        made = server.engine_metric("vllm:generation_tokens_total")
    becomes(0, lambda: server.engine_metric("vllm:num_requests_running"))
    # not by having come to its end
    assert server.engine_metric("vllm:generation_tokens_total") - made < 3000
    becomes(0, lambda: server.metric("patchbay_inflight"))
    assert server.metric("patchbay_cancelled_total") == 1


def becomes(value: float, read: Callable[[], float]) -> None:
    """Reads until the value is there, as often as is allowed."""
    assert any(read() == value for _ in range(ATTEMPTS))


def test_told_to_stop_it_refuses_new_work_finishes_the_old_and_leaves_nothing(tmp_path: Path) -> None:
    request = {**body(draw_cases(1, 3)[0]), "stream": True, "max_tokens": 3000, "ignore_eos": True}
    with serving(tmp_path / "log") as server:
        assert server.engine_processes()
        with httpx.stream("POST", f"{server.url}/v1/chat/completions", json=request, timeout=120) as reply:
            lines = reply.iter_lines()
            next(lines)
            server.process.send_signal(signal.SIGTERM)
            while server.ready():
                pass
            late = httpx.post(f"{server.url}/v1/chat/completions", json=request)
            assert (late.status_code, late.json()["error"]["code"]) == (503, "draining")
            assert [line for line in lines if line][-1] == "data: [DONE]"
        server.process.wait(60)
        assert server.engine_processes() == []
        arena = Path(f"/dev/shm/patchbay-{server.url.rpartition(':')[2]}-{os.getuid()}.arena")
        assert not arena.exists()
