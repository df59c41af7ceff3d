"""Two runs → estimates with their uncertainty."""
