#!/usr/bin/env python3
"""Counts the lines of Rust of each crate at commits: lines.py [--below FOLDER] [COMMIT ...], by default HEAD. With a folder, counts
each part of it.

A line counts if it is neither blank nor a comment. Tests are left out: folders `tests`, and items with `#[cfg(test)]`, in the same
file or in a separate one. This relies on rustfmt's layout, which indents the end of a block like its start.
"""

import argparse
import io
import pathlib
import re
import subprocess
import tarfile


def count(text):
    """Returns the number of lines of a file that count, and its test modules in separate files."""
    lines = iter(text.splitlines())
    counted, tests, in_comment = 0, [], False
    for line in lines:
        code = line.strip()
        if in_comment or code.startswith("/*"):
            in_comment = "*/" not in code
        elif code.startswith(("#[cfg(test)]", "#[cfg(all(test,")):
            tests += skip(line, lines)
        elif code and not code.startswith("//"):
            counted += 1
    return counted, tests


def skip(attribute, lines):
    """Skips the item after an attribute. Returns its name if it is a module in a separate file."""
    margin = attribute[: len(attribute) - len(attribute.lstrip())]
    for line in lines:
        module = re.match(r"\s*(?:pub(?:\([a-z]+\))? )?mod (\w+);", line)
        if module:
            return [module[1]]
        if line.rstrip() in (margin + "}", margin + "};", margin + ")") or (
            line.startswith(margin) and line[len(margin) :][:1] not in (" ", "#", "/") and line.rstrip().endswith((";", "}", ","))
        ):
            return []
    return []


def by_part(commit, below):
    """Returns the lines below each crate's `src`, by crate or by part of a folder."""
    archive = subprocess.run(["git", "archive", commit], check=True, capture_output=True).stdout
    files = {}
    with tarfile.open(fileobj=io.BytesIO(archive)) as tree:
        for member in tree:
            path = pathlib.PurePosixPath(member.name)
            if path.suffix == ".rs" and path.parts[0] in ("crates", "bins") and path.parts[2] == "src":
                files[path] = tree.extractfile(member).read().decode()
    counts = {path: count(text) for path, text in files.items()}
    tests = set()
    for path, (_, modules) in counts.items():
        folder = path.parent if path.stem in ("mod", "lib", "main") else path.with_suffix("")
        tests |= {folder / module for module in modules}
    lines = {}
    for path, (counted, _) in counts.items():
        if not any(path.with_suffix("") == test or test in path.parents for test in tests):
            part = "/".join(path.parts[:2])
            if below:
                if below not in path.parents:
                    continue
                part = path.parts[len(below.parts)].removesuffix(".rs")
            lines[part] = lines.get(part, 0) + counted
    return lines


def main():
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--below", type=pathlib.PurePosixPath, metavar="FOLDER")
    options.add_argument("commits", nargs="*", default=["HEAD"])
    options = options.parse_args()
    columns = [by_part(commit, options.below) for commit in options.commits]
    parts = sorted(set().union(*columns))
    print("| |" + "".join(f" {commit} |" for commit in options.commits))
    print("|---|" + "---|" * len(columns))
    for part in parts:
        print(f"| `{part}` |" + "".join(f" {column[part]:,} |" if part in column else " |" for column in columns))
    print("| all |" + "".join(f" {sum(column.values()):,} |" for column in columns))


main()
