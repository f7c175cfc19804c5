"""`python -m mtl_ssl_tf` is `mtl-ssl`."""

import sys

from mtl_ssl_tf import cli

sys.exit(cli.main())
