"""Measures accuracy for each kind of question, through HTTP or offline: `python -m demo.evaluate --help`.

Knows the OpenAI protocol as a client does; nothing of how the service works.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from pathlib import Path

import httpx

from demo.cases import Case, Line, draw_cases, judge, messages


async def _answer(
    client: httpx.AsyncClient, model: str, case: Case, index: int, gate: asyncio.Semaphore
) -> str:
    body = {"model": model, "messages": messages(case, index), "temperature": 0, "max_tokens": 48}
    async with gate:
        response = await client.post("/v1/chat/completions", json=body)
    if response.is_error:
        raise RuntimeError(f"case {index} ({case.kind}): HTTP {response.status_code}: {response.text[:300]}")
    return str(response.json()["choices"][0]["message"]["content"])


async def through_http(url: str, cases: list[Case], concurrency: int) -> list[str]:
    """The service's answers to `cases`, at most `concurrency` requests at once.

    Raises:
        RuntimeError: a request was answered with an error.
        httpx.HTTPError: the service cannot be reached.
    """
    gate = asyncio.Semaphore(concurrency)
    async with httpx.AsyncClient(base_url=url, timeout=120) as client:
        listed = await client.get("/v1/models")
        listed.raise_for_status()
        model = str(listed.json()["data"][0]["id"])
        try:
            # a failure ends the others before their client is closed
            async with asyncio.TaskGroup() as group:
                asked = [
                    group.create_task(_answer(client, model, case, i, gate)) for i, case in enumerate(cases)
                ]
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None
    return [each.result() for each in asked]


def table(lines: list[Line]) -> str:
    """The result for people."""
    verdict = {True: "ok", False: "FAILED", None: ""}
    rows = [f"{'kind':<22}{'right':>11}{'accuracy':>11}  {'asked of it':<15}"]
    rows += [
        f"{line.kind:<22}{f'{line.right}/{line.asked}':>11}{100 * line.share:>9.1f} %  {line.limit:<15}"
        f"{verdict[line.passed]}".rstrip()
        for line in lines
    ]
    return "\n".join(rows)


def record(lines: list[Line], cases: list[Case], answers: list[str]) -> dict[str, object]:
    """The result for programs: accuracy by kind, and every question with its answers."""
    return {
        "kinds": {
            line.kind: {"right": line.right, "asked": line.asked, "limit": line.limit, "passed": line.passed}
            for line in lines
        },
        "cases": [
            {
                "kind": case.kind,
                "detail": case.detail,
                "text": case.text,
                "expected": case.answer,
                "answered": said,
            }
            for case, said in zip(cases, answers, strict=True)
        ],
    }


def arguments(command: str, description: str, questions: int, meaning: str) -> argparse.Namespace:
    """The flags of an evaluation; `--n` has the default `questions` and this `meaning`."""
    parser = argparse.ArgumentParser(
        prog=f"python -m {command}",
        description=description,
        epilog="Exit status: 0 every threshold met, 1 one missed, 2 the questions could not be asked.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--url", default="http://127.0.0.1:8000", help="where the service listens")
    where.add_argument(
        "--model", type=Path, help="a checkpoint directory, asked by transformers' own generate"
    )
    parser.add_argument("--n", type=int, default=questions, help=meaning)
    parser.add_argument(
        "--seed", type=int, default=1, help="of scenes and questions; no seed meets the training's"
    )
    parser.add_argument("--concurrency", type=int, default=8, help="requests at once")
    parser.add_argument("--json", type=Path, help="also write accuracies and every answer to this file")
    args = parser.parse_args()
    for name, least in (("n", 1), ("seed", 0), ("concurrency", 1)):
        if getattr(args, name) < least:
            parser.error(f"--{name} is {getattr(args, name)}; it must be at least {least}")
    return args


def ask_all(args: argparse.Namespace, cases: list[Case]) -> list[str]:
    """The answers to `cases` of the service or checkpoint that the flags name.

    Raises:
        httpx.HTTPError, RuntimeError, OSError: the questions could not be asked.
    """
    if args.model is None:
        return asyncio.run(through_http(args.url, cases, args.concurrency))
    from demo.offline import Reference

    return Reference(args.model).answers(cases)


def main() -> int:
    """Runs the command and returns its exit status."""
    args = arguments(
        "demo.evaluate",
        "Ask the service (or, with --model, a checkpoint directly) questions about scenes it was never "
        "trained on, greedily, and compare accuracy for each kind of question with what is asked of it.",
        questions=600,
        meaning="questions in all, the judged kinds three times as often",
    )
    cases = draw_cases(args.n, args.seed)
    try:
        answers = ask_all(args, cases)
    except (httpx.HTTPError, RuntimeError, OSError) as failed:
        print(f"could not ask: {failed}", file=sys.stderr)
        return 2
    lines = judge(cases, answers)
    print(table(lines))
    if args.json is not None:
        args.json.write_text(json.dumps(record(lines, cases, answers), indent=1) + "\n")
    return 1 if any(line.passed is False for line in lines) else 0


if __name__ == "__main__":
    sys.exit(main())
