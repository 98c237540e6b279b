"""Classic strategies for problems of which theory knows how to play them, to hold a meta-learned one against."""
