"""Put what a run folder says of itself into one small JSON file, for results/.

python benchmarks/collect_result.py RUN results/NAME.json
"""

import json
import re
import sys
from pathlib import Path


def main() -> None:
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    run, out = map(Path, sys.argv[1:])
    parts = {name: json.loads((run / f"{name}.json").read_text()) for name in ("config", "manifest", "summary")}
    text = json.dumps(parts, indent=1)
    out.write_text(
        re.sub(r"(?<![\w.])/[\w./-]*/(?=[\w-]+/[\w-]+)", "DIR/", text) + "\n"
    )  # where files lay is nobody's business


if __name__ == "__main__":
    main()
