"""Pure data, no I/O: what the other stages pass to each other."""
