"""How samples and counts are taken."""
