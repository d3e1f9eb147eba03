"""Bounds on what the engine compiles before it decodes: schemas, regular expressions, grammars, structural tags."""
