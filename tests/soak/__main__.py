"""`python -m tests.soak --hours 1 --hosts 10 [--seed N] [--secret]`: as root, on network namespaces; prints Markdown tables."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests.namespaces import why_not
from tests.soak.soak import Soak

SECRET = "the soak's own secret"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak")
    parser.add_argument("--hours", type=float, default=1.0)
    parser.add_argument("--hosts", type=int, default=10)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--secret", action="store_true", help="all beacons have one; the attacker does not")
    options = parser.parse_args()
    reason = why_not()
    if reason is not None:
        print(reason, file=sys.stderr)
        return 2
    print(f"seed {options.seed}, {'with' if options.secret else 'without'} a secret", flush=True)
    with tempfile.TemporaryDirectory(prefix="nwd-") as place:
        soak = Soak(Path(place), options.hosts, options.seed, SECRET if options.secret else "")
        try:
            soak.run(options.hours * 3600, lambda text: print(time.strftime("%H:%M:%S"), text, flush=True))
        finally:
            print(soak.report(), flush=True)
            soak.close()
    return 1 if soak.wrong or soak.failed or soak.grown() else 0


if __name__ == "__main__":
    sys.exit(main())
