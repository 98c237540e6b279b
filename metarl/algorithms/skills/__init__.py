"""Skill search: a policy with a skill for each training class, which adapts by trying skills on the new task."""
