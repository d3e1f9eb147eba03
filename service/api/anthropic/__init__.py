"""Anthropic's Messages API: fields, translation, answers, events, errors, and the counting of tokens."""
