"""Public vision towers with random weights, to measure kernels at their shapes. Nothing is downloaded."""
