#!/bin/bash -eu
# Builds every fuzz target for OSS-Fuzz and ClusterFuzzLite, from $SRC/keyproof into $OUT: NAME, NAME.options,
# NAME.dict and NAME_seed_corpus.zip.

cd "$SRC/keyproof"

# All packages share one target folder.
export CARGO_TARGET_DIR="$WORK/target"

# If the builder provides its own libFuzzer, it replaces the one of libfuzzer-sys.
if [ -f "${LIB_FUZZING_ENGINE:-}" ]; then
  export CUSTOM_LIBFUZZER_PATH="$LIB_FUZZING_ENGINE"
fi

case "$SANITIZER" in
  # The base image turns `cargo fuzz build` into a build for coverage.
  address | coverage) sanitizer=address ;;
  none) sanitizer=none ;;
  *)
    echo "no targets for the sanitizer $SANITIZER" >&2
    exit 1
    ;;
esac

# The bundled SQLite is compiled with the sanitizer's flags, so its globals appear twice, which is not a violation of
# the one definition rule. Each NAME.options disables the check too.
export ASAN_OPTIONS="${ASAN_OPTIONS:+$ASAN_OPTIONS:}detect_odr_violation=0"

for manifest in fuzz/*/Cargo.toml; do
  package=$(dirname "$manifest")
  name=$(basename "$package")
  # If PACKAGES is set, only the packages in it are built.
  if [[ " ${PACKAGES:-$name} " != *" $name "* ]]; then
    continue
  fi
  (cd "$package" && cargo fuzz build -O --sanitizer "$sanitizer" --fuzz-dir .)
  for source in "$package"/fuzz_targets/*.rs; do
    name=$(basename "$source" .rs)
    cp "$CARGO_TARGET_DIR/x86_64-unknown-linux-gnu/release/$name" "$OUT/"
    cp "$package/options/$name.options" "$OUT/"
    printf '\n[asan]\ndetect_odr_violation = 0\n' >> "$OUT/$name.options"
    if [ -f "$package/dictionaries/${name%%_*}.dict" ]; then
      cp "$package/dictionaries/${name%%_*}.dict" "$OUT/$name.dict"
    fi
    folders=("$package/corpus/$name")
    if [ -d "$package/regressions/$name" ]; then
      folders+=("$package/regressions/$name")
    fi
    find "${folders[@]}" -type f | zip -q -j -@ "$OUT/${name}_seed_corpus.zip"
  done
done
