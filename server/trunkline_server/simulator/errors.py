"""What can go wrong with the simulator itself (not the failures it plays)."""

from __future__ import annotations


class SimulatorError(Exception):
    """The simulator cannot do what it was asked; the message says what, where and why, for a person to read."""


class ScenarioError(SimulatorError):
    """A scenario, a fault or a control call is wrong; the message starts with the file or field at fault."""


class ListenError(SimulatorError):
    """The address cannot be listened on: taken, unknown, or not allowed."""
