"""Where subjects come from, a module for each layout."""
