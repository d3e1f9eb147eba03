"""The language model: vLLM's own server as a child process, and the handover of soft tokens to it.

`client` talks HTTP to it, `launcher` and `supervisor` start it and keep it alive, `handles` writes what a request
carries in place of an image, and `plugin` is the only code that runs inside vLLM.
"""
