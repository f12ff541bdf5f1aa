"""Pictures of what students and teachers find."""
