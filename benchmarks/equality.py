"""Are the answers the same? One set of held-out questions, asked three ways, greedily.

    python -m benchmarks.equality --url http://127.0.0.1:8000 --passthrough http://127.0.0.1:8001 --n 300

transformers' own `generate`, an engine with its own tower (`patchbay serve --images passthrough`), and Patchbay.
Images go as PNG, so that all three see the same pixels. Exit status 1 when fewer than 99 % of the answers are equal.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence

import httpx

from demo.cases import Case, data_url, draw_cases
from demo.offline import Reference
from service.settings import EMBEDDED_MODEL

LEAST_EQUAL = 0.99


def body(case: Case) -> dict[str, object]:
    """The request for a case, every picture as PNG."""
    parts: list[dict[str, object]] = [
        {"type": "image_url", "image_url": {"url": data_url(picture, "PNG"), "detail": case.detail}}
        for picture in case.pictures
    ]
    content = [*parts, {"type": "text", "text": case.text}]
    return {"messages": [{"role": "user", "content": content}], "temperature": 0, "max_tokens": 48}


async def over_http(url: str, cases: Sequence[Case], concurrency: int) -> list[str]:
    """Answers in order, at most `concurrency` at once. Raises RuntimeError for an answer other than 200."""
    gate = asyncio.Semaphore(concurrency)

    async def ask(client: httpx.AsyncClient, case: Case) -> str:
        async with gate:
            reply = await client.post("/v1/chat/completions", json=body(case))
        if reply.status_code != 200:
            raise RuntimeError(f"{case.kind}: {reply.status_code} {reply.text[:300]}")
        return str(reply.json()["choices"][0]["message"]["content"])

    async with httpx.AsyncClient(base_url=url, timeout=300) as client:
        return list(await asyncio.gather(*(ask(client, case) for case in cases)))


def equal(left: Sequence[str], right: Sequence[str]) -> int:
    return sum(a == b for a, b in zip(left, right, strict=True))


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--url", default="http://127.0.0.1:8000", help="Patchbay (default %(default)s)")
    parser.add_argument("--passthrough", help="Patchbay with --images passthrough")
    parser.add_argument("--model", default=EMBEDDED_MODEL, help="the checkpoint, for transformers")
    parser.add_argument("--n", type=int, default=300, help="questions (default %(default)s)")
    parser.add_argument(
        "--seed", type=int, default=77, help="of scenes never trained on (default %(default)s)"
    )
    parser.add_argument("--concurrency", type=int, default=4, help="requests at once (default %(default)s)")
    options = parser.parse_args()
    cases = draw_cases(options.n, options.seed)
    answers = {"transformers": Reference(options.model).answers(cases)}
    if options.passthrough:
        answers["pass-through"] = asyncio.run(over_http(options.passthrough, cases, options.concurrency))
    answers["patchbay"] = asyncio.run(over_http(options.url, cases, options.concurrency))
    status = 0
    names = list(answers)
    for i, left in enumerate(names):
        for right in names[i + 1 :]:
            same = equal(answers[left], answers[right])
            print(f"{left:>12} = {right:<12} {same}/{len(cases)} ({same / len(cases):.1%})")
            status |= same / len(cases) < LEAST_EQUAL
    for case, *said in zip(cases, *answers.values(), strict=True):
        if len(set(said)) > 1:
            print(f"differs: {case.kind}, {case.text!r}: {dict(zip(names, said, strict=True))}")
    return int(status)


if __name__ == "__main__":
    sys.exit(main())
