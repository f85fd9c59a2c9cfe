"""What the server says about itself: structured logs, without anything that a caller or a provider said."""
