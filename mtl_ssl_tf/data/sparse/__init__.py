"""Erases annotations from converted splits."""
