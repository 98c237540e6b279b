"""Inner rules for any differentiable loss: how a network is adapted to a task by a few labelled examples of it."""
