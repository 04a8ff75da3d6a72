"""``python -m npkd`` is ``npkd``."""

import sys

from npkd.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
