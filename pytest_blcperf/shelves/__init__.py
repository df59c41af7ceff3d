"""Where runs are kept for other machines: a folder, object storage, a git branch, a platform's artifacts."""
