"""Patchbay against vLLM as it starts by itself, and as an expert would start it, on checkpoints of real shapes."""
