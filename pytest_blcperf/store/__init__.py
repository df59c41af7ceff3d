"""Run files, baselines, and where they are kept."""
