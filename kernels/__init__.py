"""Kernels of the vision encoder, each a folder with its reference, fused kernel, CPU path, benchmark and README.

They know tensors only: nothing of images, models or requests. `python -m kernels.bench` runs all benchmarks.
"""
