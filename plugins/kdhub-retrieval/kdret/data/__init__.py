"""Text collections: reading, making and feeding them."""
