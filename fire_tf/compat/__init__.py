"""The environment, and libraries that do not work as they come."""
