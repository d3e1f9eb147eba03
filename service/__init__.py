"""Patchbay: images in, soft tokens through, words out."""

__version__ = "0.1.0"
