"""Several models that feed each other: what such a loop is, and one generation of all of them."""
