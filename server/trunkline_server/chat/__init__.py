"""The conversation as every room sees it: requests, messages, answers and deltas.

Provider-neutral and free of any wire: `rpc` makes these from protobuf, `providers` turn them into a
vendor's JSON and back, `engine` carries them. Standard library only.
"""
