"""From images to leased soft tokens: batching, the device, and one encoding for concurrent requests."""
