"""The story of one request: admitted, read, planned, handed over, asked, given back."""
