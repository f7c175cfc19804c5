"""Images without annotations to batches of composites, two of one instance each."""
