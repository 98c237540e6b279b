"""Baselines of stable-baselines3: learning from scratch on single tasks, and an oracle that sees the goal."""
