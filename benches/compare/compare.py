#!/usr/bin/env python3
"""Measures each task with keyproof and with its peer, and writes the table into README.md, and a short one into that of the repository.

benches/compare/compare.py [otp] [x509] [tpm]: tasks that are not named keep their earlier rows, from measured.json. A build is
measured by its processor time, and a task by its median, so that other programs on the machine matter little.
"""

import json
import os
import pathlib
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
RECORD = HERE / "measured.json"
ROUNDS = 5
TASKS = {
    "otp": ("a login's second step, and the URI that enrols", "otp-keyproof", "otp-totp-rs"),
    "x509": ("proof of possession of a CA's key", "x509-keyproof", "x509-parser-rcgen"),
    "tpm": ("a TPM's quote, RSA-2048", "tpm-keyproof", "tpm-tss-esapi"),
}


# Peers whose program name differs from their crates' names.
PEERS = {"parser-rcgen": "x509-parser, rcgen"}


def run(*command, **options):
    return subprocess.run(command, check=True, cwd=HERE, capture_output=True, text=True, **options).stdout


def lines(package):
    """Returns the number of lines of the task that are neither blank nor comments."""
    text = (HERE / package / "src/task.rs").read_text()
    code = (line.strip() for line in text.splitlines())
    return sum(1 for line in code if line and not line.startswith("//"))


def crates(package):
    """Returns the number of compiled packages, without the task's own two."""
    tree = run("cargo", "tree", "--locked", "--package", f"compare-{package}", "--edges", "normal,build",
               "--prefix", "none", "--format", "{p}")
    names = {line.removesuffix(" (*)") for line in tree.splitlines() if line}
    return len([name for name in names if not name.startswith(("compare-", "timing "))])


def spent():
    """Returns the processor time of all ended child programs, in seconds."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def build(package, target):
    """Builds from scratch. Returns the seconds of processor time, and the program."""
    before = spent()
    run("cargo", "build", "--locked", "--release", "--package", f"compare-{package}", "--target-dir", target)
    return spent() - before, pathlib.Path(target) / "release" / f"compare-{package}"


def measured(name):
    """Measures a task. Returns its rows: ours, and the peer's."""
    task, *packages = TASKS[name]
    run("cargo", "fetch", "--locked")
    with tempfile.TemporaryDirectory() as kept:
        seconds, programs = {}, {}
        for package in packages:
            with tempfile.TemporaryDirectory() as target:
                seconds[package], program = build(package, target)
                programs[package] = shutil.copy(program, kept)
        nanoseconds = {package: [] for package in packages}
        for _ in range(ROUNDS):  # in turn, so that other load affects both alike
            for package, program in programs.items():
                nanoseconds[package].append(int(run(program)))
    where = f"{run('rustc', '--version').strip()}, {len(os.sched_getaffinity(0))} cores"
    return [
        {
            "task": task,
            "with": package,
            "lines": lines(package),
            "crates": crates(package),
            "build_cpu_seconds": round(seconds[package], 1),
            "microseconds": round(statistics.median(nanoseconds[package]) / 1_000, 2),
            "on": where,
        }
        for package in packages
    ]


def table(rows):
    head = "| task | with | lines | crates | build, CPU seconds | once, microseconds |\n|---|---|---|---|---|---|\n"
    return head + "".join(
        f"| {row['task']} | `{row['with']}` | {row['lines']} | {row['crates']} | {row['build_cpu_seconds']} | {row['microseconds']} |\n"
        for row in rows
    )


def short_table(record):
    """Returns a table with one row per task: ours, then the peer's."""
    head = "| task | with | lines | crates | build, CPU seconds | once, microseconds |\n|---|---|---|---|---|---|\n"
    measures = ("lines", "crates", "build_cpu_seconds", "microseconds")
    rows = []
    for ours, peer in record.values():
        figures = " | ".join(f"{ours[measure]} / {peer[measure]}" for measure in measures)
        crate, other = (row["with"].split("-", 1)[1] for row in (ours, peer))
        rows.append(f"| {ours['task']} | {crate} / {PEERS.get(other, other)} | {figures} |\n")
    return head + "".join(rows)


def main():
    names = sys.argv[1:] or list(TASKS)
    unknown = [name for name in names if name not in TASKS]
    if unknown:
        sys.exit(f"no task is called {', '.join(unknown)}; there are: {', '.join(TASKS)}")
    record = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    for name in names:
        record[name] = measured(name)
        write({name: record[name] for name in TASKS if name in record})


def write(record):
    """Writes the results after each task, so that they are kept if the next one is interrupted."""
    text = json.dumps(record, indent=2)
    print(text)
    RECORD.write_text(text + "\n")
    rows = [row for of_task in record.values() for row in of_task]
    where = "; ".join(sorted({row["on"] for row in rows}))
    replace(HERE / "README.md", "measured", f"{table(rows)}\n{where}\n")
    replace(HERE.parents[1] / "README.md", "compared", short_table(record))


def replace(path, name, text):
    """Replaces the text between the comment with this name and the end comment."""
    before, rest = path.read_text().split(f"<!-- {name} -->\n", 1)
    _, after = rest.split("<!-- end -->\n", 1)
    path.write_text(f"{before}<!-- {name} -->\n{text}<!-- end -->\n{after}")


if __name__ == "__main__":
    main()
