"""The whole encoder around the kernels: public vision towers with random weights, ours against transformers'.

`towers.py` builds them, `models.py` has the ways through them, `bench.py` holds these against each other. Nothing here
serves requests.
"""
