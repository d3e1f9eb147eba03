"""The page's files: there when they are wanted, closed in by their headers, and nothing else."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from service.app.prepare import prepare
from service.app.service import SCENES, Patchbay
from service.playground import playground_routes
from service.playground.files import STATIC
from service.settings import load
from tests.service.api.fakes import Call, Harness

pytestmark = pytest.mark.anyio
FILES = {path.name for path in STATIC.iterdir()}
OFFER = json.loads((SCENES / "scenes.json").read_text())
TYPES = {".css": "text/css", ".js": "text/javascript", ".html": "text/html", ".svg": "image/svg+xml"}


async def get(path: str, method: str = "GET", scenes: Path | None = SCENES, **headers: str) -> Call:
    return await Call(Harness(playground=playground_routes(scenes)).api, path, method=method, **headers).run()


async def test_without_it_there_is_nothing() -> None:
    for path in ("/", "/playground/app.js"):
        call = await Call(Harness().api, path, method="GET").run()
        assert (call.status, call.error["code"]) == (404, "not_found")


@pytest.mark.parametrize("path", ["/", *sorted(f"/playground/{name}" for name in FILES)])
async def test_each_file_is_there_with_its_type_and_its_policy(path: str) -> None:
    call = await get(path)
    name = path.rpartition("/")[2] or "index.html"
    assert call.status == 200
    assert call.headers["content-type"].startswith(TYPES.get(Path(name).suffix, "application/json"))
    assert call.headers["x-content-type-options"] == "nosniff"
    assert call.headers["referrer-policy"] == "no-referrer"
    assert call.headers["cache-control"] == "no-cache"
    policy = dict(part.strip().split(" ", 1) for part in call.headers["content-security-policy"].split(";"))
    assert policy == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": "'self' blob: data:",
        "connect-src": "'self'",
        "frame-ancestors": "'none'",
        "base-uri": "'none'",
        "form-action": "'none'",
    }


async def test_a_file_that_is_known_is_not_sent_again() -> None:
    first = await get("/")
    assert first.body == (STATIC / "index.html").read_bytes()
    for known in (first.headers["etag"], f'"other", W/{first.headers["etag"]}', "*"):
        again = await get("/", if_none_match=known)
        assert (again.status, again.body, again.headers["etag"]) == (304, b"", first.headers["etag"])
        assert "content-security-policy" in again.headers
    assert (await get("/", if_none_match='"other"')).status == 200
    assert (await get("/playground/app.js")).headers["etag"] != first.headers["etag"]


async def test_head_tells_the_length_and_sends_nothing() -> None:
    call = await get("/", "HEAD")
    assert (call.status, call.body) == (200, b"")
    assert int(call.headers["content-length"]) == (STATIC / "index.html").stat().st_size


@pytest.mark.parametrize(
    "path",
    [
        *(
            "/playground",
            "/playground/",
            "/playground/nothing.js",
            "/playground/static/app.js",
            "/index.html",
        ),
        *("/playground/../routes.py", "/playground/..%2froutes.py", "/playground//etc/passwd"),
        *("/playground/scenes/../../../pyproject.toml", "/playground/scenes/scenes.json"),
    ],
)
async def test_nothing_else_can_be_asked_for(path: str) -> None:
    assert (await get(path)).status == 404


async def test_it_takes_no_other_method() -> None:
    call = await get("/", "POST")
    assert (call.status, call.error["code"]) == (405, "method_not_allowed")


async def test_the_page_needs_no_key_and_the_api_does() -> None:
    api = Harness(playground=playground_routes(), api_keys=["sesame"]).api
    assert (await Call(api, "/", method="GET").run()).status == 200
    assert (await Call(api, "/v1/models", method="GET").run()).status == 401


async def test_scenes_are_offered_with_the_embedded_model_alone() -> None:
    for scene in OFFER["scenes"]:
        assert scene["questions"] and scene["alt"] and scene["name"]
        call = await get(f"/playground/scenes/{scene['file']}")
        assert (call.status, call.headers["content-type"][:6]) == (200, "image/")
        assert call.body == (SCENES / scene["file"]).read_bytes()
        assert (await get(f"/playground/scenes/{scene['file']}", scenes=None)).status == 404
    assert json.loads((await get("/playground/scenes.json")).body) == OFFER
    assert json.loads((await get("/playground/scenes.json", scenes=None)).body)["scenes"] == []


class Loads(HTMLParser):
    """What a document loads, and whether anything in it is against a policy without `unsafe-inline`."""

    def __init__(self) -> None:
        super().__init__()
        self.places: list[str] = []
        self.inline: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.places += [given[name] or "" for name in ("src", "href") if name in given]
        if tag == "style" or (tag == "script" and "src" not in given):
            self.inline.append(tag)
        self.inline += [name for name in given if name == "style" or name.startswith("on")]


def test_the_page_loads_its_own_files_alone() -> None:
    loads = Loads()
    loads.feed((STATIC / "index.html").read_text())
    assert loads.inline == []
    used = {place.removeprefix("playground/") for place in loads.places}
    for script in STATIC.glob("*.js"):
        text = script.read_text()
        used |= set(re.findall(r'from "\./([\w.]+)"', text))
        used |= set(re.findall(r'fetch\("playground/([\w.]+)"', text))
        assert "innerHTML" not in text and "eval(" not in text
    assert used == FILES - {"index.html"}
    for path in STATIC.iterdir():
        others = re.findall(r"https?://(?!www\.w3\.org/)[\w.]+", path.read_text())
        assert others == [], path.name


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ({}, True),
        ({"playground": "false"}, False),
        ({"model": "./demo/model"}, False),
        ({"model": "./demo/model", "playground": "true"}, True),
    ],
)
def test_it_comes_with_the_embedded_model_unless_told_otherwise(given: dict[str, str], shown: bool) -> None:
    assert load(given, {}).shows_playground is shown


async def test_the_service_has_it_by_its_settings() -> None:
    for playground, status in (("true", 200), ("false", 404)):
        settings = load(
            {"images": "passthrough", "engine_url": "http://127.0.0.1:9", "playground": playground}, {}
        )
        api = Patchbay(prepare(settings), print).api()
        assert (await Call(api, "/", method="GET").run()).status == status
        assert (await Call(api, "/playground/scenes/shapes.jpg", method="GET").run()).status == status


async def test_with_an_admin_port_the_page_still_finds_all_that_it_asks_for() -> None:
    given = {
        **{"images": "passthrough", "engine_url": "http://127.0.0.1:9", "playground": "true"},
        "admin_port": "9009",
    }
    patchbay = Patchbay(prepare(load(given, {})), print)
    api, admin = patchbay.api(), patchbay.admin_api()
    assert (await Call(api, "/metrics", method="GET").run()).status == 404
    asked = set(re.findall(r'reach\("([\w/]+)"|ROUTE = "([\w/]+)"', (STATIC / "chat.js").read_text()))
    paths = {f"/{first or second}" for first, second in asked}
    assert paths == {"/readyz", "/v1/models", "/v1/chat/completions"}
    # an empty question is refused as a question, not as an unknown path
    statuses = {path: (await Call(api, path, b"{}", method=verb(path)).run()).status for path in paths}
    assert statuses == {"/readyz": 503, "/v1/models": 200, "/v1/chat/completions": 400}
    assert (await Call(admin, "/", method="GET").run()).status == 404
    told = [await Call(app, "/readyz", method="GET").run() for app in (api, admin)]
    assert [json.loads(call.body)["reasons"] for call in told] == [{"service": "starting"}] * 2


def verb(path: str) -> str:
    return "POST" if path.endswith("/completions") else "GET"
