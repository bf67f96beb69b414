#!/usr/bin/env python3
"""Measures each task with keyproof and with its peer, and writes the table into README.md.

Run it on a machine that does nothing else: benches/compare/compare.py
"""

import json
import os
import pathlib
import shutil
import statistics
import subprocess
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
ROUNDS = 5
TASKS = [
    ("a login's second step, and the URI that enrols", "otp-keyproof", "otp-totp-rs"),
    ("proof of possession of a CA's key", "x509-keyproof", "x509-parser-rcgen"),
    ("a TPM's quote, RSA-2048", "tpm-keyproof", "tpm-tss-esapi"),
]


def run(*command, **options):
    return subprocess.run(command, check=True, cwd=HERE, capture_output=True, text=True, **options).stdout


def lines(package):
    """Lines of the task that are neither blank nor comments."""
    text = (HERE / package / "src/task.rs").read_text()
    code = (line.strip() for line in text.splitlines())
    return sum(1 for line in code if line and not line.startswith("//"))


def crates(package):
    """Every package that is compiled, its own two aside."""
    tree = run("cargo", "tree", "--locked", "--package", f"compare-{package}", "--edges", "normal,build",
               "--prefix", "none", "--format", "{p}")
    names = {line.removesuffix(" (*)") for line in tree.splitlines() if line}
    return len([name for name in names if not name.startswith(("compare-", "timing "))])


def build(package, target):
    """Seconds of a build from nothing, downloads aside, and the program."""
    start = time.monotonic()
    run("cargo", "build", "--locked", "--release", "--package", f"compare-{package}", "--target-dir", target)
    return time.monotonic() - start, pathlib.Path(target) / "release" / f"compare-{package}"


def measured():
    run("cargo", "fetch", "--locked")
    rows = []
    for task, ours, theirs in TASKS:
        built = {}
        for package in (ours, theirs):
            with tempfile.TemporaryDirectory() as target:
                seconds, program = build(package, target)
                kept = tempfile.NamedTemporaryFile(delete=False)
                kept.close()
                shutil.copy(program, kept.name)
                built[package] = (seconds, kept.name)
        nanoseconds = {package: [] for package in built}
        for _ in range(ROUNDS):  # in turn, so that whatever the machine does hits both
            for package, (_, program) in built.items():
                nanoseconds[package].append(int(run(program)))
        for package, (seconds, program) in built.items():
            pathlib.Path(program).unlink()
            rows.append({
                "task": task,
                "with": package,
                "lines": lines(package),
                "crates": crates(package),
                "build_seconds": round(seconds, 1),
                "microseconds": round(statistics.median(nanoseconds[package]) / 1_000, 2),
            })
    return rows


def table(rows):
    head = "| task | with | lines | crates | build, seconds | once, microseconds |\n|---|---|---|---|---|---|\n"
    return head + "".join(
        f"| {row['task']} | `{row['with']}` | {row['lines']} | {row['crates']} | {row['build_seconds']} | {row['microseconds']} |\n"
        for row in rows
    )


def main():
    rows = measured()
    print(json.dumps(rows, indent=2))
    readme = HERE / "README.md"
    before, rest = readme.read_text().split("<!-- measured -->\n", 1)
    _, after = rest.split("<!-- end -->\n", 1)
    where = f"{run('rustc', '--version').strip()}, {len(os.sched_getaffinity(0))} cores\n"
    readme.write_text(f"{before}<!-- measured -->\n{table(rows)}\n{where}<!-- end -->\n{after}")


if __name__ == "__main__":
    main()
