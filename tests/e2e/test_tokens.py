"""What a prompt costs, counted without an answer: the same as the engine counts for one."""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from benchmarks.counting import compared, draw_requests
from demo.cases import data_url
from demo.world import draw_scene, scene_seed
from tests.e2e.server import Server, chat_body

pytestmark = pytest.mark.e2e


def post(server: Server, path: str, **body: Any) -> httpx.Response:
    return httpx.post(f"{server.url}{path}", json=body, timeout=120)


def part(url: str, detail: str = "auto") -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url, "detail": detail}}


def scene(index: int) -> str:
    _, image = draw_scene(scene_seed("evaluate", 9, index), "shapes")
    return data_url(image, "PNG")


def test_a_count_is_the_engine_s_own(patchbay: Server) -> None:
    pairs = [compared(patchbay.url, request) for request in draw_requests(12, seed=5)]
    assert [counted for counted, _ in pairs] == [answered for _, answered in pairs]
    assert len({counted.prompt for counted, _ in pairs}) > 6


def test_a_count_costs_no_image_work(patchbay: Server) -> None:
    before = {
        name: patchbay.metric(name)
        for name in (
            "patchbay_cache_requests_total",
            "patchbay_image_tokens_total",
            "patchbay_encoder_batch_items_count",
        )
    }
    told = post(patchbay, "/v1/tokenize", **chat_body(part(scene(60)), part(scene(61), "low"))).json()
    assert told["fits"] and [image["tokens"] for image in told["images"]][1] == 16
    assert {name: patchbay.metric(name) for name in before} == before


def test_what_fits_no_context_is_counted_too(patchbay: Server) -> None:
    told = post(patchbay, "/v1/tokenize", **chat_body(question="What? " * 3000)).json()
    assert told["prompt_tokens"] >= told["max_model_len"] and not told["fits"]
    refused = post(patchbay, "/v1/chat/completions", **chat_body(question="What? " * 3000))
    assert refused.json()["error"]["code"] == "context_length_exceeded"


def test_an_image_at_a_url_is_not_fetched_to_its_end(patchbay: Server) -> None:
    data = Path("demo/scenes/wide.jpg").read_bytes()
    whole = f"data:image/jpeg;base64,{base64.b64encode(data).decode()}"
    with beginning(data[: len(data) // 2], len(data)) as url:
        told, same = (post(patchbay, "/v1/tokenize", **chat_body(part(each))).json() for each in (url, whole))
    assert told == same and told["images"][0]["width"] > told["images"][0]["height"]


def test_texts_and_tokens_there_and_back(patchbay: Server) -> None:
    tokens = post(patchbay, "/tokenize", prompt="What colour is the star?", return_token_strs=True).json()
    assert tokens["count"] == len(tokens["tokens"]) == len(tokens["token_strs"])
    assert post(patchbay, "/detokenize", tokens=tokens["tokens"]).json() == {
        "prompt": "What colour is the star?"
    }


def test_the_tokens_of_a_chat_request_have_its_images_in_them(patchbay: Server) -> None:
    request = chat_body(part(scene(62)), part(scene(63), "low"))
    tokens = post(patchbay, "/tokenize", **request).json()["tokens"]
    told = post(patchbay, "/v1/tokenize", **request).json()
    assert len(tokens) == told["prompt_tokens"]
    assert max(tokens.count(token) for token in set(tokens)) == told["image_tokens"]


def test_what_an_answer_s_usage_says_of_its_images(patchbay: Server) -> None:
    request = chat_body(part(scene(64)), part(scene(65), "low"), max_tokens=1)
    usage = post(patchbay, "/v1/chat/completions", **request).json()["usage"]["prompt_tokens_details"]
    told = post(patchbay, "/v1/tokenize", **request).json()
    kept = ("width", "height", "processed", "placement", "tokens")
    assert usage["images"] == [{name: image[name] for name in kept} for image in told["images"]]
    assert usage["image_tokens"] == told["image_tokens"] and "multimodal_tokens" not in usage


def test_an_image_in_a_system_message_stands_where_the_template_has_it(patchbay: Server) -> None:
    picture = {"role": "system", "content": [part(scene(66))]}
    question = {"role": "user", "content": "What do you see?"}
    told = post(patchbay, "/v1/tokenize", messages=[picture, question]).json()
    answer = post(
        patchbay, "/v1/chat/completions", messages=[picture, question], max_tokens=1, temperature=0
    ).json()
    assert answer["usage"]["prompt_tokens"] == told["prompt_tokens"]
    assert answer["usage"]["prompt_tokens_details"]["image_tokens"] == told["image_tokens"] > 0


@contextmanager
def beginning(data: bytes, length: int) -> Iterator[str]:
    """A server that sends the beginning of a file of `length` bytes, and then nothing until its client leaves."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(length))
            self.end_headers()
            self.wfile.write(data)
            self.connection.recv(1)

        def log_message(self, *args: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/image.jpg"
        finally:
            server.shutdown()
            thread.join()
