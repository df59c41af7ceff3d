"""`python -m pytest_blcperf` is the `blcperf` command."""

from pytest_blcperf.cli import main

raise SystemExit(main())
