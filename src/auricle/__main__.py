"""`python -m auricle`: the command line, for launchers of several processes such as `accelerate launch`."""

import sys

from auricle.cli import main

sys.exit(main())
