//! `cargo xtask fuzz`: the fuzz targets under libFuzzer, without a sanitiser and so on stable; and what else their
//! packages must show.

mod alone;
mod coverage;
mod harness;
mod oss_fuzz;
mod run;
mod verbs;

use crate::{
    failure::Failure,
    process::{cargo, run as execute},
};
use harness::Harness;

#[derive(clap::Args)]
#[group(skip)]
pub(crate) struct Options {
    /// The only package: otp, x509 and so on; may be given again
    #[arg(long)]
    package: Vec<String>,

    /// The only target to run; may be given again, and then they run in this order
    #[arg(long)]
    target: Vec<String>,

    #[command(flatten)]
    plan: run::Plan,

    #[command(flatten)]
    instead: Instead,
}

/// What is done and no target run.
#[derive(clap::Args)]
#[group(multiple = false, conflicts_with_all = ["target", "seconds", "jobs", "patience", "record"])]
struct Instead {
    /// Prints the targets
    #[arg(long)]
    list: bool,

    /// Prints how many lines of each file the corpora reach
    #[arg(long)]
    coverage: bool,

    /// Copies each package into an empty folder, with the packaged crates, and builds and runs it there
    #[arg(long)]
    alone: bool,

    /// Runs OSS-Fuzz's script under the address sanitiser, on nightly, and each target over the seeds that it packed
    #[arg(long)]
    oss_fuzz: bool,

    /// Has cargo-fuzz list, build, run, minimise and measure each package, on nightly under the address sanitiser
    #[arg(long)]
    verbs: bool,

    /// Writes each package's Cargo.lock anew, with the workspace's versions
    #[arg(long)]
    lock: bool,
}

pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let harnesses = Harness::select(&options.package)?;
    match options.instead {
        Instead { list: true, .. } => list(&harnesses),
        Instead { coverage: true, .. } => coverage::show(&harnesses),
        Instead { alone: true, .. } => alone::try_out(&harnesses),
        Instead { oss_fuzz: true, .. } => oss_fuzz::try_out(&harnesses),
        Instead { verbs: true, .. } => verbs::try_out(&harnesses),
        Instead { lock: true, .. } => harnesses.iter().try_for_each(Harness::lock),
        _ => {
            let targets = harness::select(&harnesses, &options.target)?;
            run::all(&targets, &options.plan)
        }
    }
}

fn list(harnesses: &[Harness]) -> Result<(), Failure> {
    for target in harness::select(harnesses, &[])? {
        println!("{}", target.name);
    }
    Ok(())
}

/// The stage of `cargo xtask test`: each package is as its members of the workspace are, and its corpora pass.
pub(crate) fn hold() -> Result<(), Failure> {
    let harnesses = Harness::all()?;
    for target in harness::select(&harnesses, &[])? {
        target.keeps_to_its_options()?;
    }
    for harness in &harnesses {
        let manifest = harness.manifest();
        execute(cargo(["fmt", "--check", "--manifest-path"]).arg(&manifest))?;
        let clippy = ["clippy", "--locked", "--all-targets", "--manifest-path"];
        execute(
            cargo(clippy)
                .arg(&manifest)
                .args(harness::SHARED_TARGET)
                .args(["--", "-D", "warnings"]),
        )?;
        let test = ["test", "--locked", "--manifest-path"];
        execute(cargo(test).arg(&manifest).args(harness::SHARED_TARGET))?;
    }
    Ok(())
}
