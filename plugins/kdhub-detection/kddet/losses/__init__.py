"""Losses between a student detector and its teacher."""
