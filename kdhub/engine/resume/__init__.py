"""What makes a resumed run end as the one that never stopped: keyed data, loops, the ingredients of a checkpoint."""
