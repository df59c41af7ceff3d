"""What a capture means: breakdowns, classes of functions, patterns. Pure, but for reading presets."""
