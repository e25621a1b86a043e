"""Heads and hearts that are generated."""
