//! `cargo xtask fuzz`: runs the fuzz targets under libFuzzer, without a sanitiser and therefore on stable; and further
//! checks of their packages.

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
    /// The only package, such as otp or x509; may be repeated
    #[arg(long)]
    package: Vec<String>,

    /// The only target to run; may be repeated, and then they run in this order
    #[arg(long)]
    target: Vec<String>,

    #[command(flatten)]
    plan: run::Plan,

    #[command(flatten)]
    instead: Instead,
}

/// Actions instead of running targets.
#[derive(clap::Args)]
#[group(multiple = false, conflicts_with_all = ["target", "seconds", "jobs", "patience", "record"])]
struct Instead {
    /// Prints the targets
    #[arg(long)]
    list: bool,

    /// Prints how many lines of each file the corpora cover
    #[arg(long)]
    coverage: bool,

    /// Copies each package into an empty folder, with the packaged crates, and builds and runs it there
    #[arg(long)]
    alone: bool,

    /// Runs OSS-Fuzz's script with the address sanitiser on nightly, and each target with the seeds that it packed
    #[arg(long)]
    oss_fuzz: bool,

    /// Runs cargo-fuzz's list, build, run, cmin and coverage for each package, on nightly with the address sanitiser
    #[arg(long)]
    verbs: bool,

    /// Writes each package's Cargo.lock again, with the workspace's versions
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

/// The stage of `cargo xtask test`: each package follows the workspace's rules, and its corpora pass.
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
