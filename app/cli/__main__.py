"""`python -m app.cli`: the same program as `stillwatch`."""

import sys

from app.cli import main

sys.exit(main())
