"""The commands, their arguments, and the exit status of an error."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence

from service import __version__
from service.cli import flags, plan_options
from service.errors import PatchbayError

SERVE = """Serve a vision-language model behind the OpenAI API.

Starts the gateway, the image encoder and a vLLM engine on this machine, reports its progress, and prints a request to
paste once it is ready. Without MODEL it serves the small model that comes with Patchbay.

  patchbay serve                                     the embedded model, http://127.0.0.1:8000
  patchbay serve ./InternVL3-1B-hf                   your checkpoint
  patchbay serve OpenGVLab/InternVL3-1B-hf --revision main -- --max-num-seqs 64
                                                     everything after -- goes to vLLM
  patchbay serve ./model --engine-url http://127.0.0.1:9000
                                                     an engine that you started yourself
"""
ASK = """Ask a running Patchbay about one or more images, and print the answer as it streams.

  patchbay ask photo.jpg "What colour is the car?"
  patchbay ask left.png right.png "Which image has the star?"
  patchbay ask https://example.com/cat.jpg "What is this?" --detail low
"""
ENGINE = """Run the vLLM engine alone, in the foreground, for a server that runs `patchbay serve --engine-url
http://127.0.0.1:PORT` in another container of the same pod, or as the same user on this machine. Give both the same
settings; everything after -- goes to vLLM.

  patchbay engine ./model --engine-port 9000 -- --max-num-seqs 64
"""
CHECK = """Show what this machine can run: its cores, memory and GPU, the installed versions, the resource plan for
MODEL and the engine's command line. Starts nothing. Exits with status 1 and the reason when MODEL cannot be served
here."""

KEY = """Make an API key and print it, with its entry for a file of keys (--api-keys-file). The key is shown once; the
entry holds its hash.

  patchbay key search >> keys.toml       the key goes to the terminal, the entry to the file
"""
PLAN = """Show how many of your requests a machine could serve with MODEL, before you rent it: the plan that
`patchbay serve` would make there, the concurrent requests, what limits them, and the setting that raises the limit.
Reads the configuration and the sizes of the weights; downloads no weights, and needs neither a GPU nor the machine.
Takes every setting of serve as well.

  patchbay plan --gpu h200 --image 1920x1080
  patchbay plan OpenGVLab/InternVL3-8B-hf --gpu l40s --image 1920x1080:3 --image 640x480:1:low
                                                     three of the first for each of the second
  patchbay plan ./model --gpu l4 --image 800x600 --images-per-request 4 --answer-tokens 300 --json
  patchbay plan demo --image 640x480 --rate 40 --measured load-report/summary.json
                                                     replicas, from what `make load` measured
  patchbay plan ./model --gpu l4 --image 800x600 --values > values.yaml
                                                     values for the Helm chart

The ceiling is the most that the GPU's data sheet allows in arithmetic and memory traffic, attention included, assuming
that no image and no text repeats. To find out what your machine really does, run a load test.
"""


def parser() -> argparse.ArgumentParser:
    root = argparse.ArgumentParser(
        prog="patchbay",
        description="Serves vision-language models: images become soft tokens once, vLLM does the rest.",
        epilog="Each command has its own --help.",
    )
    root.add_argument("--version", action="version", version=f"patchbay {__version__}")
    commands = root.add_subparsers(dest="command", required=True, metavar="COMMAND")

    serve = _command(commands, "serve", "serve a model", SERVE)
    flags.add_settings(serve)

    ask = _command(commands, "ask", "ask a running server about images", ASK)
    ask.add_argument(
        "images", nargs="+", metavar="IMAGE", help="a file, or an http(s) URL that the server fetches"
    )
    ask.add_argument("question", metavar="QUESTION", help="what to ask, quoted")
    ask.add_argument("--url", default="http://127.0.0.1:8000", help="the server (default %(default)s)")
    ask.add_argument("--detail", choices=("low", "high", "auto"), default="auto", help="level of detail")
    ask.add_argument(
        "--max-tokens",
        type=int,
        default=256,
        metavar="N",
        help="maximum tokens in the answer (default %(default)s)",
    )
    ask.add_argument("--api-key", default="", metavar="KEY", help="bearer key, if the server requires one")

    engine = _command(commands, "engine", "run the engine alone, for a server on the same machine", ENGINE)
    flags.add_settings(engine)

    check = _command(commands, "check", "show what this machine can run, and why not", CHECK)
    flags.add_settings(check)

    key = _command(commands, "key", "make an API key", KEY)
    key.add_argument(
        "name", metavar="NAME", help="in logs, traces and metrics, such as the team that gets the key"
    )

    plan = _command(commands, "plan", "show what another machine could serve", PLAN)
    plan_options.add_options(plan)
    flags.add_settings(plan)
    return root


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; returns the process's exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    engine_args: list[str] = []
    if "--" in arguments:
        at = arguments.index("--")
        arguments, engine_args = arguments[:at], arguments[at + 1 :]
    options = parser().parse_args(arguments)
    if engine_args:
        options.engine_args = tuple(engine_args)
    try:
        status = _run(options)
        sys.stdout.flush()
        return status
    except BrokenPipeError:
        # `patchbay check | head` closes the pipe early; Python's own flush at exit must not complain either
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except PatchbayError as error:
        print(f"patchbay {options.command}: {error.message}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _run(options: argparse.Namespace) -> int:
    # each command has its own imports: `ask` must not wait for torch
    if options.command == "ask":
        from service.cli.ask import ask

        return ask(options)
    if options.command == "key":
        from service.cli.key import key

        return key(options.name)
    if options.command == "check":
        from service.cli.check import check

        return check(flags.given(options))
    if options.command == "plan":
        from service.cli.plan import plan

        return plan(options, flags.given(options))
    if options.command == "engine":
        from service.cli.engine import engine

        return engine(flags.given(options))
    from service.cli.serve import serve

    return serve(flags.given(options))


def _command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], name: str, line: str, text: str
) -> argparse.ArgumentParser:
    return commands.add_parser(
        name, help=line, description=text, formatter_class=argparse.RawDescriptionHelpFormatter
    )
