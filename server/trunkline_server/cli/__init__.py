"""The command `trunkline`: one module a command, and what they share."""
