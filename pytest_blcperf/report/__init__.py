"""One renderer a file: a verdict in, text out."""
