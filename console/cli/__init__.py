"""The command line: one module a noun, each thin over `ops`. Loads neither the SDK nor, except for the console, Textual."""
