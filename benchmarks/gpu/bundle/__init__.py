"""vLLM and what it needs in one small archive, for a machine with a GPU that reaches no package index."""
