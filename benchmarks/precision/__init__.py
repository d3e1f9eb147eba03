"""The encoder in int8 against full precision: what becomes of answers, and what it gains."""
