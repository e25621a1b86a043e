"""A model as a SavedModel, and a client of the server that holds it."""
