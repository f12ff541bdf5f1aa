"""Pictures of what classifiers answer, and how sure they are."""
