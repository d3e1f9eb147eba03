"""The whole vision encoder around the kernels, ours against plain transformers."""
