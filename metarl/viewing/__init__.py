"""Watching: videos of held-out tasks before and after adaptation, and MuJoCo's viewer."""
