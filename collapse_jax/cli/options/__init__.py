"""Tasks, loops and corpora from the words of a command."""
