"""What one application process runs: the control snapshot, the recorder, the clocks. Knows nothing of the SDK."""
