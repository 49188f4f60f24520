"""Did it collapse, in which sense, and when."""
