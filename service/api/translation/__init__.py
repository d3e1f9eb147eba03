"""What dialects share that are translated to chat completions: conversations one way, answers the other."""
