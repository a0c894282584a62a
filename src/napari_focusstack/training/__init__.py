"""Where the networks come from: optics, simulated through-focus stacks, losses, the fitting loop and the recipes."""
