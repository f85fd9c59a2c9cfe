"""The routes file: its types, its loading with every finding at once, and its secrets."""
