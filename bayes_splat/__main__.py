"""``python -m bayes_splat`` is ``bayes-splat``."""

import sys

from bayes_splat import cli

if __name__ == "__main__":
    sys.exit(cli.main())
