"""OpenAI's Responses API, without its storage: fields, translation, answers and events."""
