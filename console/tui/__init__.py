"""The Textual console: widgets, screens, keys. Asks `ops` for frozen values in a worker thread; no SQL here."""
