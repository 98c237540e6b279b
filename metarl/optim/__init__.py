"""Conjugate gradients and trust regions on flat parameter vectors."""
