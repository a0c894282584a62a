"""Focus stacking: each method turns a stack into a `Fused`."""
