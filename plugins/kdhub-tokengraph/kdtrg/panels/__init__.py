"""Pictures of which patches a network takes for alike."""
