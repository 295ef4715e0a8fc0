"""A theatre's device for trying things out: a test picture with a clock, a tone, and a look at what comes back."""
