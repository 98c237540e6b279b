"""Networks from what a policy sees to a distribution over actions."""
