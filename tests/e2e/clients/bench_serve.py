"""`vllm bench serve`, which the CPU build of vLLM cannot start by that name: the same flags, the same code."""

from __future__ import annotations

import argparse

from vllm.benchmarks import serve

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    serve.add_cli_args(parser)
    serve.main(parser.parse_args())
