#!/usr/bin/env python3
"""Ends well where every package that the given files pin is installed in just that version."""

import re
import sys
from importlib import metadata


def pins(path: str) -> dict[str, str]:
    """Name -> version of the lines `name==version`."""
    found = {}
    with open(path) as file:
        for line in file:
            pin = re.fullmatch(r"([\w.-]+)==([\w.]+)", line.strip())
            if pin:
                found[pin[1]] = pin[2]
    return found


def installed(name: str) -> str | None:
    """The version that is here, if any."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


if __name__ == "__main__":
    missing = [
        f"{name}=={version}"
        for path in sys.argv[1:]
        for name, version in pins(path).items()
        if installed(name) != version
    ]
    if missing:
        print("to be installed: " + " ".join(missing), file=sys.stderr)
    sys.exit(bool(missing))
