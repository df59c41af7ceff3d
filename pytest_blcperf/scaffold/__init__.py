"""CI files for a repository: what it is like, and the templates filled in for it."""
