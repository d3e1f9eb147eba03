"""What is run when a GPU is at hand for some minutes: kernels and encoders, then the whole service, step by step."""
