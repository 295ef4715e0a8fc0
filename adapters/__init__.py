"""One folder per protocol. No adapter imports another."""
