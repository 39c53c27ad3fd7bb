"""Pure policy: values in, values out. No clock, no randomness, no input or output, no threads, no logging."""
