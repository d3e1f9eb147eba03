"""How far two right results may be apart."""

from __future__ import annotations

SPLIT_K = 1.5
"""Times the error of a product that rounds once. cuBLAS may cut a product with few rows along K and add the parts in
the number format of the result (PyTorch allows it, `allow_bf16_reduced_precision_reduction`), for one of two calls and
not for the other. `test_bounds.py` has what that is worth, and what is not allowed by it."""
