"""What `scripts/check` runs: each module is one check, a function that returns the complaints it found."""
