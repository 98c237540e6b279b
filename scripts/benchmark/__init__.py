"""Benchmarks: implementations measured in turn, in one run, so that what counts is the ratio between them."""
