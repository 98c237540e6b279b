"""Summaries of runs, the pages that are generated from them, and pretrained policies; see docs/zoo.md."""
