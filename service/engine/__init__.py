"""The language model: vLLM's own server as a child process, and the hand-over of soft tokens to it.

`client` speaks HTTP to it, `launcher` and `supervisor` start it and keep it alive, `handles` writes what a
request carries in an image's place, and `plugin` is the only code that runs inside vLLM.
"""
