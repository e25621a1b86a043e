"""What a user's files and options may be at fault with, and writing files whole or not at all."""
