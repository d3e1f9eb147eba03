"""Images to leased soft tokens: batches, the device, and one encoding for all who ask for an image."""
