"""Prompts as tokens, without an answer: vLLM's two routes, and an exact count with images by their sizes."""
