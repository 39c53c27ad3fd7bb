"""Where state is kept: SQLite files and small files beside them. Knows nothing of calls in progress or of screens."""
