"""The cards, a module for each kind of loop; a further module needs no registration."""
