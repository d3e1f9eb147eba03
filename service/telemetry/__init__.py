"""What operators see: metrics, logs, traces, and where a request's time was spent."""
