"""Networks that are trained without annotations, for a detector to start from."""
