"""The course of a request: admission, reading and planning images, handover, asking the engine, releasing."""
