"""`python -m harmost.services.cli`: the same as the script `harmost`."""

import sys

from harmost.services.cli import main

sys.exit(main())
