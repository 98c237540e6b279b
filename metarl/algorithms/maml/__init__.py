"""MAML: gradient steps from learned initial parameters."""
