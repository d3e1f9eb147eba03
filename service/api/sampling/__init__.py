"""What chat requests and completions have in common: fields, their ranges and companions, what is forwarded."""
