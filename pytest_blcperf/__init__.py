"""pytest-blcperf: a performance gate that names the function that got dearer.

PYTEST_DONT_REWRITE: workers import this package before pytest can rewrite its assertions; no warning (`-W error`)
must come of that.
"""

__version__ = "0.1.0"
