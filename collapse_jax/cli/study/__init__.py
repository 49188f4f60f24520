"""Studies as files: several runs and what is made of them, checked before anything runs."""
