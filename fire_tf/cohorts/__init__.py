"""Many pairs: which, by whom, what became of each, and of all together."""
