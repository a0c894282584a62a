"""Networks of the papers, one file each, and the zoo of their weights. They know nothing of the rest of the package."""
