"""How each vendor wants to be shown a key. Apart from translation: the same protocol may be signed in several ways."""
