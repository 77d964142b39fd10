"""Has Docker Compose 1's own code (compose1.py PACKAGES) read env files for `env_file:`; their paths on standard input.
Answers as node.cjs does."""
import logging, os, sys

logging.disable(logging.CRITICAL)
sys.path.insert(0, sys.argv[1])
from compose.config.environment import env_vars_from_file

for path in sys.stdin.read().splitlines():
    try:
        # It doubles what it would expand again.
        read = {key: value.replace("$$", "$") for key, value in env_vars_from_file(path, interpolate=False).items()}
        made = " ".join(f"{key}={value}".encode().hex() for key, value in read.items())
    except Exception:
        made = "!"
    print(os.path.basename(path), made, sep="\t")
