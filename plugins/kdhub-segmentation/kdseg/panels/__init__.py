"""Pictures of what students and teachers see."""
