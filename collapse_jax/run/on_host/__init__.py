"""What is done with generated rows on the host, where rules may be any function in Python."""
