"""The provider simulator: an upstream that answers, and fails, exactly as it is told.

It knows nothing of the router and the router nothing of it: the command line starts it (`trunkline upstream`), tests
drive it. Start with `scenario.py` for what it can be told, `server.py` for how it is run.
"""
