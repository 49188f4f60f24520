"""The command line, `collapse-jax`."""
