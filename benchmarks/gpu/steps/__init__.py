"""What the steps run that no other benchmark measures; each file is a command of its own."""
