"""Viewing of held-out tasks before and after adaptation: videos, and MuJoCo's viewer."""
