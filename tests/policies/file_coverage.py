"""Fails if a file is covered by less than it should be.

python tests/policies/file_coverage.py REPORT.json PERCENT
"""

import json
import sys
from pathlib import Path


def main() -> None:
    """Name the files below the floor."""
    report, floor = Path(sys.argv[1]), float(sys.argv[2])
    files = json.loads(report.read_text())["files"]
    low = {
        name: percent
        for name, file in files.items()
        if (percent := file["summary"]["percent_covered"]) < floor
    }
    if low:
        lines = [f"  {percent:5.1f} %  {name}" for name, percent in sorted(low.items())]
        sys.exit("\n".join([f"covered by less than {floor:g} %:", *lines]))


if __name__ == "__main__":
    main()
