"""The whole encoder around the kernels: six public vision towers with random weights, ours against transformers'.

`models.py` builds them, `bench.py` holds them against each other. Nothing here serves requests.
"""
