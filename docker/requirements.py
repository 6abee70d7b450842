"""Print the requirements of datafeed with the extras named: ``requirements.py setup.cfg EXTRA...``.

So that an image's layer of packages does not depend on our code.
"""

import sys
from configparser import ConfigParser

config = ConfigParser()
config.read(sys.argv[1])
extras = config["options.extras_require"]
for text in (config["options"]["install_requires"], *(extras[name] for name in sys.argv[2:])):
    print(text.strip())
