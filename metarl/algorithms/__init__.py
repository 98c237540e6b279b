"""Meta-learning algorithms, a folder each; see `metarl.algorithms.base` for their contract."""
