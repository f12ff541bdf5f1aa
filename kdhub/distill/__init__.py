"""Distillation itself: taps, adapters, losses, schedules, guards, teachers and the `Distiller` that joins them."""
