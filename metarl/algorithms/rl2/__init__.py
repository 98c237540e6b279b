"""RL²: a recurrent policy that learns by remembering."""
