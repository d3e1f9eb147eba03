"""One API key against another: places, bodies and caches."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.e2e.server import Server, chat_body
from tests.faults.clients import connections, half_bodies
from tests.faults.conftest import KEYS

pytestmark = pytest.mark.e2e
GREEDY, POLITE = ({"authorization": f"Bearer {key}"} for key in KEYS)


def ask(server: Server, key: dict[str, str], **fields: object) -> httpx.Response:
    asked = {**chat_body(question="Hi."), "max_tokens": 2, **fields}
    return httpx.post(f"{server.url}/v1/chat/completions", json=asked, headers=key, timeout=120)


def test_half_bodies_of_one_key_keep_no_other_out(keyed: Server) -> None:
    with connections(keyed.url, 100, half_bodies(KEYS[0])):
        while keyed.metric('patchbay_inflight{stage="body"}') < 15:
            pass
        assert keyed.metric('patchbay_inflight{stage="request"}') == 0
        assert ask(keyed, POLITE).status_code == 200


def test_a_polite_key_is_answered_while_a_greedy_one_asks_for_everything(keyed: Server) -> None:
    def greedy(_: int) -> int:
        reply = ask(keyed, GREEDY, max_tokens=60, ignore_eos=True)
        assert reply.status_code == 200 or int(reply.headers["retry-after"]) >= 1
        return reply.status_code

    with ThreadPoolExecutor(40) as clients:
        running = [clients.submit(greedy, number) for number in range(200)]
        polite = [ask(keyed, POLITE).status_code for _ in range(20)]
        statuses = {future.result() for future in running}
    assert polite == [200] * 20
    assert statuses == {200, 429}


def cached(server: Server, key: dict[str, str], text: str) -> int:
    reply = ask(server, key, messages=[{"role": "user", "content": text}])
    assert reply.status_code == 200
    return int((reply.json()["usage"].get("prompt_tokens_details") or {}).get("cached_tokens") or 0)


def test_a_text_that_one_key_has_sent_is_not_cached_for_another(keyed: Server) -> None:
    secret = "alpha bravo lima tango kilo " * 20
    assert cached(keyed, GREEDY, secret) == 0
    assert cached(keyed, POLITE, secret) == 0
    assert cached(keyed, GREEDY, secret) > 0
