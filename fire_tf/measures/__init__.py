"""What a registration is measured by."""
