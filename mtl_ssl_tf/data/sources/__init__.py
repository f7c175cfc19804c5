"""Annotation files and images of data sets, as tools write them."""
