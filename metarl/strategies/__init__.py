"""Classic strategies for bandits and tabular MDPs, to compare meta-learned policies with."""
