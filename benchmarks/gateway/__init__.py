"""What the gateway itself costs: processor time of its main process, for a request and for each streamed event."""
