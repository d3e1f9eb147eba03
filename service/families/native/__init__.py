"""What families of native resolution share: an image keeps about its own size, and becomes one soft token a *cell*, a
square of merged patches. Qwen2-VL began it (Wang et al. 2024, arXiv:2409.12191).

Geometry, the files that decide it and the names of tensors need the standard library only; `tower.py` needs torch.
"""
