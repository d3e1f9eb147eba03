"""OpenAI's completions: a text that the model goes on with."""
