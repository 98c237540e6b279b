"""Imitation: a policy from a few demonstrations."""
