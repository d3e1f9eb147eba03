import json
from pathlib import Path
from typing import Any

import pytest

from service.api.openapi import document
from service.keys import KeyStore
from service.keys.entry import of_key
from tests.service.api.fakes import Call, Harness, chat

pytestmark = pytest.mark.anyio
KEYS = ("sk-one", "sk-two")
SPEC = document()


async def test_a_key_opens_and_salts() -> None:
    harness = Harness(api_keys=KEYS)
    assert (await chat(harness, headers={"authorization": "Bearer sk-two"}).run()).status == 200
    request, _ = harness.service.asked[0]
    assert request.caller == KeyStore(KEYS).caller("Bearer sk-two")


async def test_no_key_no_body() -> None:
    harness = Harness(api_keys=KEYS)
    call = await chat(harness).run()
    assert (call.status, call.received, harness.service.asked) == (401, 0, [])
    assert call.error["type"] == "authentication_error"
    assert call.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/models", "/v1/models/demo"])
@pytest.mark.parametrize("host", ["x/?", "x/livez?", "a#", "x\\livez", "localhost:0@x", "[::1"])
async def test_a_host_header_does_not_open(path: str, host: str) -> None:
    method = "POST" if "chat" in path else "GET"
    call = await Call(Harness(api_keys=KEYS).api, path, b"{}", method=method, host=host).run()
    assert call.status == 401


@pytest.mark.parametrize(
    "path",
    ["//v1/models", "/v1//models", "/V1/models", "/v1/models/", "/livez/../v1/models", "/v1/./models", "/v1"],
)
async def test_a_path_in_disguise_leads_nowhere(path: str) -> None:
    call = await Call(Harness(api_keys=KEYS).api, path, method="GET", host="x").run()
    assert call.status in (401, 404)
    assert b"max_model_len" not in call.body


async def test_the_operator_s_routes_need_no_key() -> None:
    harness = Harness(api_keys=KEYS)
    for path in ("/livez", "/readyz", "/metrics"):
        assert (await Call(harness.api, path, method="GET").run()).status == 200


@pytest.mark.parametrize(
    ("path", "method", "operation"),
    [(path, method, entry) for path, entries in SPEC["paths"].items() for method, entry in entries.items()],
)
async def test_every_other_route_needs_one(path: str, method: str, operation: dict[str, Any]) -> None:
    """As the API's document has it; nobody is called, and no body is read."""
    harness = Harness(api_keys=KEYS)
    call = await Call(harness.api, path.replace("{", "").replace("}", ""), b"{}", method=method.upper()).run()
    assert (call.status == 401) is (operation.get("security") != [])
    assert harness.service.asked == []


@pytest.fixture
def limited(tmp_path: Path) -> KeyStore:
    """Keys for one model each, of which only `demo` is served."""
    file = tmp_path / "keys"
    hashes = {model: of_key(model, model).sha256 for model in ("demo", "other")}
    entries = [
        f'[[keys]]\nname = "{model}"\nsha256 = "{sha256}"\nmodels = ["{model}"]\n'
        for model, sha256 in hashes.items()
    ]
    file.write_text("".join(entries))
    return KeyStore(file=file)


async def test_a_key_sees_and_uses_only_its_models(limited: KeyStore) -> None:
    async def call(method: str, path: str, key: str) -> Call:
        body = b'{"messages":[{"role":"user","content":"hi"}]}'
        given = {"authorization": f"Bearer {key}"}
        return await Call(Harness(keys=limited).api, path, body, method=method, **given).run()

    def seen(call: Call) -> list[str]:
        return [card["id"] for card in json.loads(call.body)["data"]]

    assert seen(await call("GET", "/v1/models", "demo")) == ["demo"]
    assert seen(await call("GET", "/v1/models", "other")) == []
    assert (await call("GET", "/v1/models/demo", "other")).status == 404
    assert (await call("POST", "/v1/chat/completions", "demo")).status == 200
    refused = await call("POST", "/v1/chat/completions", "other")
    assert (refused.status, refused.error["code"]) == (404, "model_not_found")
    assert "demo" not in refused.error["message"]
