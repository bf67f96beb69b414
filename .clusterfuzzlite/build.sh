#!/bin/bash -eu
# The same build as for OSS-Fuzz.
exec "$SRC/keyproof/fuzz/oss-fuzz/build.sh"
