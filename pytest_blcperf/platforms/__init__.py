"""What CI platforms offer over their APIs: artifacts, comments, labels."""
