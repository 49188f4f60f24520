"""What papers claim: their loops as compositions, and cards that hold claims against chains."""
