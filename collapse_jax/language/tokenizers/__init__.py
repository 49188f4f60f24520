"""From text to tokens and back: words, bytes, and what the files of a checkpoint say."""
