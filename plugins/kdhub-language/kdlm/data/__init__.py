"""Data sets of texts as tokens, and what makes batches of them."""
