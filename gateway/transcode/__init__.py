"""Media that two sides have no codec in common for: decoded and encoded again, in worker threads, within limits."""
