"""How cores and memory are divided, on this machine or on one that is only described."""
