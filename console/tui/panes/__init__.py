"""What each part of the screen says: pure functions from a frozen view and a size to rows. No widget, no clock."""
