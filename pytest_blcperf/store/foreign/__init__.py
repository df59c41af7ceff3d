"""Profiles that other tools wrote, read as captures. They may come from anywhere: sizes are bounded, nothing is run."""
