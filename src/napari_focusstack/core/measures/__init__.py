"""Classical focus measures: each a function plane -> focus map."""
