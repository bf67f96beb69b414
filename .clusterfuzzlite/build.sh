#!/bin/bash -eu
# As OSS-Fuzz builds it.
exec "$SRC/keyproof/fuzz/oss-fuzz/build.sh"
