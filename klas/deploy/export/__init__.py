"""One network as a file that needs nothing else: a module for each format."""
