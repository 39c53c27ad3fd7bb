"""Leaf widgets. Each draws rows of `console.tui.cells`; none knows the desk."""
