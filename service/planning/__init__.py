"""Who gets which cores and bytes, on this machine or on one that is only described."""
