"""Telling of a defect where no call is there to end with it."""

from __future__ import annotations

import asyncio
import traceback


def report_defect(what: str, defect: BaseException) -> None:
    """Hand a defect to the loop's exception handler: its kind and place, since its text may be a caller's."""
    place = traceback.extract_tb(defect.__traceback__)[-1:]
    where = "".join(f" at {frame.filename}:{frame.lineno}" for frame in place)
    asyncio.get_running_loop().call_exception_handler({"message": f"{what}: {type(defect).__name__}{where}"})
