"""Files of documents: which they are, what is packed in them, and the records that they hold."""
