"""Objects and detections as metrics need them."""
