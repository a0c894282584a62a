"""Other programs that ours are measured beside."""
