"""Shared helpers live beside the tests (gitrepo.py, gate_runs.py, report_samples.py) and are imported by name."""
