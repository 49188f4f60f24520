"""What everything else stands on: checks of arguments, whole files, fingerprints of arrays."""
