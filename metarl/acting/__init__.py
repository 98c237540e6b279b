"""Acting in environments: one play loop, actors, agents, and policies as files."""
