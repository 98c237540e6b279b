"""Demonstrations of tasks: recorded, read, split."""
