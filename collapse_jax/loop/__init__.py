"""What a loop is, and one generation of it, as pure functions."""
