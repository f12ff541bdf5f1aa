"""Yes/no questions about images: who answers them, and the file of answers (MaKD)."""
