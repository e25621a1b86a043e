"""Pairs and stacks registered with any model, and refined."""
