"""Encoded bytes to tiles, in sandboxed processes: image decoders are C code that strangers feed."""

from service.decode.pool import DecodePool

__all__ = ["DecodePool"]
