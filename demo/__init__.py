"""The embedded demonstration model: the world it sees, its training, its weights and their measurement."""
