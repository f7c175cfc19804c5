"""Writes TFRecords of a split and finds them again."""
