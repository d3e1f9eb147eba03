"""OpenAI's chat completions: route, schema, fields and messages."""
