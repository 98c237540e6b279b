"""Recognition of skills from a few demonstrations: N-way K-shot classification of episodes."""
