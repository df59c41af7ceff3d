"""Addresses → frames: mappings, objects, unwind tables, names. No address leaves this stage without an answer."""
