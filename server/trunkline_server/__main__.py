"""`python -m trunkline_server` is the command `trunkline`."""

from __future__ import annotations

import sys

from trunkline_server.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
