import traceback

import pytest
from prometheus_client import CollectorRegistry
from starlette.types import Receive, Scope, Send

from service.api.middleware import BrokenOff, Exchanges
from service.telemetry.metrics import Metrics
from tests.service.api.fakes import Call

pytestmark = pytest.mark.anyio


async def test_an_answer_that_breaks_off_is_ended_without_the_words_of_its_failure() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise KeyError("secret")

    call = Call(Exchanges(app, Metrics(CollectorRegistry())), "/", method="GET", x_request_id="mine")
    with pytest.raises(BrokenOff, match="request mine") as raised:
        await call.run()
    # the server logs this traceback
    assert "secret" not in "".join(traceback.format_exception(raised.value))
