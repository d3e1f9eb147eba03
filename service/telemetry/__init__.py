"""What operators see: metrics, log lines, traces, and where the time of a request went."""
