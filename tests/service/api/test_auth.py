import re

import pytest

from service.api.auth import ApiKeys
from service.errors import ConfigurationError, Unauthorized
from tests.service.api.fakes import Call, Harness, chat

pytestmark = pytest.mark.anyio
KEYS = ("sk-one", "sk-two")


def test_each_key_is_a_tenant() -> None:
    keys = ApiKeys(KEYS)
    one, two = keys.tenant("Bearer sk-one"), keys.tenant("bearer  sk-two ")
    assert one != two
    assert all(re.fullmatch("[0-9a-f]{64}", salt) for salt in (one, two))
    assert ApiKeys(KEYS[::-1]).tenant("Bearer sk-one") == one


def test_without_keys_everybody_is_one_tenant() -> None:
    keys = ApiKeys()
    assert keys.tenant(None) == keys.tenant("Bearer whatever") == ""


@pytest.mark.parametrize(
    "header",
    [None, "", "Bearer", "Bearer ", "sk-one", "Basic sk-one", "Bearer sk-on", "Bearer sk-one2", "Bearer é"],
)
def test_everything_else_is_refused(header: str | None) -> None:
    with pytest.raises(Unauthorized) as refused:
        ApiKeys(KEYS).tenant(header)
    assert "sk-one" not in refused.value.message


@pytest.mark.parametrize("key", ["", "a b", "clé", "a\n"])
def test_a_key_that_no_header_could_carry(key: str) -> None:
    with pytest.raises(ConfigurationError, match="API key number 2"):
        ApiKeys(["good", key])


async def test_a_key_opens_and_salts() -> None:
    harness = Harness(api_keys=KEYS)
    assert (await chat(harness, headers={"authorization": "Bearer sk-two"}).run()).status == 200
    request, _ = harness.service.asked[0]
    assert request.tenant == ApiKeys(KEYS).tenant("Bearer sk-two")


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
