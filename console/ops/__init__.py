"""What an operator can do or ask. The screen and the command line are both thin over this package."""
