"""How an adapter states what it carries, in the names of `chat.features`."""

from __future__ import annotations

from trunkline_server.chat.features import NAMES


def stated(*names: str) -> frozenset[str]:
    """Return the features of these names; raise ValueError for a name that there is none of.

    For the `features` of an adapter's class: a misspelt name fails when the adapter is imported. A name belongs there
    if the adapter writes what is asked for into its body, so that the provider means by it what the request does.
    What is not there is no secret either: the encoder warns for whatever it leaves out.
    """
    asked = frozenset(names)
    if unknown := asked - NAMES:
        raise ValueError(f"there are no features of these names: {', '.join(sorted(unknown))}")
    return asked
