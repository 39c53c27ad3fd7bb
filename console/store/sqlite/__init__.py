"""The SQLite implementation of the store; every SQL statement of the project stands in this package."""
