"""The encoder's compute threads on a CPU, whose cores the engine computes on as well."""

from __future__ import annotations

import os
import sys
import threading

import torch

NICE = 5
"""Added to the niceness of the encoder's threads. Where both want a core, they get a third of what the engine's threads
get: a token that somebody waits for is not held up by an image, and images take whatever is left over."""


def give_way(threads: int) -> None:
    """Sets how many threads torch computes with for the calling thread, and lets them all give way to others.

    On Linux niceness belongs to a thread, and the threads that torch starts for it inherit its own; elsewhere it
    belongs to the process, and stays as it is.
    """
    if sys.platform == "linux":
        thread = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + NICE)
    torch.set_num_threads(threads)
