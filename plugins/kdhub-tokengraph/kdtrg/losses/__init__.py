"""TRG's three terms, each alone, and their sum."""
