"""What all else stands on: checks of what users give, whole files, fingerprints of arrays."""
