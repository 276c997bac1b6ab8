"""Run the table: `python tests/mistakes`."""

import sys

from table import main

sys.exit(main(sys.argv[1:]))
