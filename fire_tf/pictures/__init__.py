"""Pictures of arrays and maps."""
