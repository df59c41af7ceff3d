"""The patterns, one a file: `NAME`, `TITLE`, `find(view, rules) -> Finding`; the docstring says what it means."""
