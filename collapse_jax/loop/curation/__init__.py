"""What is taken of the rows that models generate: rewards, filters, verifiers, in any order."""
