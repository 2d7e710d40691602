"""Losses, data and distillation of SAB3R."""
