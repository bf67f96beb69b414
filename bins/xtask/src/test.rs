//! `cargo xtask test`: everything that must pass before a change lands.

use std::{
    env,
    panic::resume_unwind,
    path::PathBuf,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use clap::ValueEnum;

use crate::{
    architecture, data_model, distribution, docs_rs,
    failure::Failure,
    fuzz, instructions, layers, layout, packages, postgres,
    process::{as_root, cargo, run as execute, run_named_tests},
    public_api, toolchains,
    tools::{self, need_cargo_tool, need_programs},
    upgrade, wire_words,
    workspace::{self, Member},
};

#[derive(clap::Args)]
pub(crate) struct Options {
    /// The stages to run; by default all except `cluster`
    #[arg(value_enum)]
    stages: Vec<Stage>,
    /// Also fail if a stage could not test everything; except `field` without its data, and `instructions` on a processor whose
    /// counts cannot be compared
    #[arg(long)]
    whole: bool,
}

/// The stages in their order: those that fail fastest come first, but some run in pairs.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Stage {
    /// Programs that the other stages need exist or are installed
    Tools,
    /// rustfmt would change nothing
    Format,
    /// Every member inherits the workspace's lints
    Lints,
    /// Licences, sources and duplicates comply with deny.toml
    Deny,
    /// No published crate has a dependency that its layer forbids
    Layers,
    /// Clippy finds nothing in the whole workspace
    Clippy,
    /// The documentation builds without a warning
    Docs,
    /// The published crates can be published, and their packages work as their READMEs show
    Packages,
    /// The protocol crates link without std
    NoStd,
    /// The protocol crates build for WebAssembly and for a microcontroller
    Targets,
    /// Each published crate's public items match its public-api.txt, and its pages on docs.rs label features
    PublicApi,
    /// Each published crate's tests pass on exactly its rust-version, and on PostgreSQL 16; the server compiles on its own
    RustVersion,
    /// Unit, doc, vector, property, conformance, dialect and peer tests pass
    Tests,
    /// The fuzz packages are formatted, linted and locked, and their corpora pass
    Fuzz,
    /// Clippy finds nothing in each crate alone, with every one and two of its features, and with all
    Features,
    /// The store's tests pass on PostgreSQL 17 and 18, too
    Postgres,
    /// Hot paths take as many instructions as benches/instructions.toml says, within 3 %
    Instructions,
    /// The Debian package can be installed, upgraded and removed in a fresh system, and the image runs
    #[value(name = "package")]
    Distribution,
    /// No acknowledged change is lost when a database of three machines fails over: one failure of each kind
    Failover,
    /// The same for every failure, and what can be lost without synchronous replication
    Cluster,
    /// The previous release and this one serve one store side by side under load, on both engines
    Upgrade,
    /// Each example, a whole small program, runs to its end
    Examples,
    /// Certificates of real manufacturers get the right verdicts, if their folder exists
    Field,
}

/// Whether a stage could test everything.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ran {
    Passed,
    /// It needs something that this machine lacks, which it has reported.
    NotRun,
    /// Part of it needs something that this machine lacks, which it has reported.
    NotWhole,
    /// This machine's counts cannot be compared with the recorded ones.
    OnlyReported,
}

impl Ran {
    const fn told(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::NotRun => "NOT RUN",
            Self::NotWhole => "NOT WHOLE",
            Self::OnlyReported => "ONLY REPORTED",
        }
    }
}

pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let mut stages = options.stages.clone();
    if stages.is_empty() {
        let all = Stage::value_variants().iter().copied();
        stages.extend(all.filter(|stage| !stage.runs_by_name_alone()));
    }
    need_root(&stages, options.whole)?;
    let start = Instant::now();
    let mut times = Vec::new();
    let mut stages = stages.into_iter().peekable();
    while let Some(stage) = stages.next() {
        let other = stages.next_if(|next| stage.leaves_processors_to(*next));
        times.extend(at_once(stage, other)?);
    }
    summarise(&times, start.elapsed());
    let stages = lacking(&times, true);
    if options.whole && !stages.is_empty() {
        return Err(Failure::NotWhole { stages });
    }
    Ok(())
}

/// What a stage could test, and how long it took.
type Timed = (Stage, Ran, Duration);

/// Runs a stage, and at the same time the other if there is one.
fn at_once(stage: Stage, other: Option<Stage>) -> Result<Vec<Timed>, Failure> {
    thread::scope(|scope| {
        let other = other.map(|other| scope.spawn(move || other.timed()));
        let mut times = vec![stage.timed()?];
        if let Some(other) = other {
            times.push(other.join().unwrap_or_else(|panic| resume_unwind(panic))?);
        }
        Ok(times)
    })
}

/// Fails early without root, which some stages would only report after half an hour of others.
fn need_root(stages: &[Stage], whole: bool) -> Result<(), Failure> {
    let (taking, others): (Vec<Stage>, Vec<Stage>) =
        stages.iter().copied().partition(|stage| stage.takes_root());
    if taking.is_empty() || tools::is_root()? {
        return Ok(());
    }
    let names =
        |stages: &[Stage]| -> Vec<String> { stages.iter().map(|stage| stage.name()).collect() };
    let line = |stages: &[Stage]| {
        let whole = if whole { "--whole " } else { "" };
        format!("cargo xtask test {whole}{}", names(stages).join(" "))
    };
    let mut command = as_root(&line(stages), env::vars_os());
    if !others.is_empty() {
        command += &format!("\nor what takes none:\n    {}", line(&others));
    }
    Err(Failure::TakesRoot {
        stages: names(&taking),
        command,
    })
}

impl Stage {
    fn name(self) -> String {
        self.to_possible_value()
            .map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// It takes too long for CI, because it waits for many failures of a leader.
    fn runs_by_name_alone(self) -> bool {
        matches!(self, Self::Cluster)
    }

    const fn takes_root(self) -> bool {
        matches!(self, Self::Failover | Self::Cluster)
    }

    /// Whether this result is accepted with `--whole`, because few machines can achieve another.
    const fn is_excused(self, ran: Ran) -> bool {
        matches!(
            (self, ran),
            (Self::Field, Ran::NotRun) | (Self::Instructions, Ran::OnlyReported)
        )
    }

    /// Whether the next stage runs at the same time, because neither uses all processors: `features` compiles one crate after
    /// the other, `postgres` waits for databases, and `instructions` and `package` link and run single programs.
    const fn leaves_processors_to(self, next: Self) -> bool {
        matches!(
            (self, next),
            (Self::Features, Self::Postgres) | (Self::Instructions, Self::Distribution)
        )
    }

    fn timed(self) -> Result<Timed, Failure> {
        let name = self.name();
        println!("\n== {name} ==");
        let start = Instant::now();
        let ran = self.run().map_err(|cause| Failure::Stage {
            stage: name.clone(),
            cause: Box::new(cause),
        })?;
        let time = start.elapsed();
        println!("== {name}: {} in {} ==", ran.told(), seconds(time));
        Ok((self, ran, time))
    }

    fn run(self) -> Result<Ran, Failure> {
        match self {
            Self::Field => return run_over_field_data(),
            Self::Instructions => return instructions::hold(),
            Self::Postgres => return postgres::test_on_others(),
            Self::Distribution => return distribution::hold(),
            Self::Upgrade => return upgrade::test(),
            Self::Failover => cluster_tests("failover::in_ci::", false),
            Self::Cluster => cluster_tests("failover::", true),
            Self::Tools => {
                need_programs(tools::COMPILING)?;
                need_programs(tools::PEERS)?;
                need_programs(tools::CLUSTER)?;
                need_cargo_tool(&tools::CARGO_DENY)?;
                need_cargo_tool(&tools::CARGO_HACK)?;
                need_cargo_tool(&tools::CARGO_PUBLIC_API)
            }
            Self::Format => execute(&mut cargo(["fmt", "--all", "--check"])),
            Self::Lints => lints_are_inherited(),
            Self::Deny => execute(&mut cargo([
                "deny", "--locked", "check", "bans", "licenses", "sources",
            ])),
            Self::Layers => {
                architecture::check()?;
                data_model::check()?;
                layers::check()?;
                wire_words::check()?;
                layout::check()
            }
            Self::Clippy => execute(cargo(["clippy", "--locked"]).args(workspace::WHOLE).args([
                "--all-targets",
                "--",
                "-D",
                "warnings",
            ])),
            Self::Features => toolchains::lint_each_set_of_features(),
            Self::Docs => documentation_builds(),
            Self::Packages => packages::hold(),
            Self::NoStd => protocol_crates_link_without_std(),
            Self::Fuzz => fuzz::hold(),
            Self::Targets => toolchains::build_for_bare_targets(),
            Self::PublicApi => public_api::hold().and_then(|()| docs_rs::hold()),
            Self::RustVersion => toolchains::test_on_rust_version(),
            Self::Examples => examples_run(),
            Self::Tests => {
                execute(cargo(["test", "--locked", "--no-fail-fast"]).args(workspace::WHOLE))
            }
        }?;
        Ok(Ran::Passed)
    }
}

fn lints_are_inherited() -> Result<(), Failure> {
    for member in workspace::members()? {
        if !member.inherits_lints() {
            return Err(Failure::wrong(
                member.path,
                "lacks `[lints] workspace = true`",
            ));
        }
    }
    Ok(())
}

/// Features include those of the examples, as for Clippy, so that no dependency is checked again.
fn documentation_builds() -> Result<(), Failure> {
    let mut doc = cargo(["doc", "--locked", "--no-deps"]);
    doc.args(workspace::WHOLE).args(["--lib", "--examples"]);
    for member in workspace::members()? {
        for program in member.programs()? {
            // The library of the same name has the page.
            if program != "keyproof" {
                doc.args(["--bin", &program]);
            }
        }
    }
    execute(doc.env("RUSTDOCFLAGS", "-D warnings"))
}

/// Runs the tests one after the other, because each has a database of three machines.
///
/// With `on_time` they also fail if it takes longer than promised until a change is acknowledged again.
fn cluster_tests(named: &str, on_time: bool) -> Result<(), Failure> {
    need_programs(tools::PEERS)?;
    need_programs(tools::CLUSTER)?;
    run_named_tests(
        workspace::integration_tests("faults")
            .args(["--", "--ignored", "--test-threads=1", "--nocapture", named])
            .envs(on_time.then_some(("KEYPROOF_FAILOVER_ON_TIME", "1"))),
    )
}

/// Uses the build of the tests: `cargo run` would choose other features.
fn examples_run() -> Result<(), Failure> {
    let members = workspace::members()?;
    let is_example = |member: &Member| member.folder().starts_with("examples");
    let mut build = cargo(["build", "--locked", "--examples"]);
    build.args(workspace::WHOLE);
    for member in members.iter().filter(|member| is_example(member)) {
        build.args(["--bin", member.name()?]);
    }
    execute(&mut build)?;
    let built = workspace::target_folder().join("debug");
    for member in &members {
        let folder = member.folder().join("examples");
        if folder.is_dir() {
            for example in workspace::binaries(&folder.to_string_lossy())? {
                execute(&mut Command::new(built.join("examples").join(example)))?;
            }
        }
        if is_example(member) {
            execute(&mut Command::new(built.join(member.name()?)))?;
        }
    }
    Ok(())
}

/// Links first without an allocator if a crate needs none, then all crates with one.
fn protocol_crates_link_without_std() -> Result<(), Failure> {
    let build = [
        "build",
        "--locked",
        "--profile",
        "freestanding",
        "--package",
        "keyproof-no-std-proof",
    ];
    execute(&mut cargo(build))?;
    execute(cargo(build).args(["--features", "alloc"]))
}

/// The folder with real certificates, which are never committed.
const FIELD_DATA: &str = "KEYPROOF_FIELD_DATA";
const FIELD_DATA_BESIDE_US: &str = "../shared/vectors";

fn run_over_field_data() -> Result<Ran, Failure> {
    let folder = env::var_os(FIELD_DATA).map_or_else(|| FIELD_DATA_BESIDE_US.into(), PathBuf::from);
    let found = folder.canonicalize().ok();
    let Some(found) = found.filter(|folder| folder.join("vendor").is_dir()) else {
        println!(
            "the certificates of real manufacturers are not in {} ({FIELD_DATA}): nothing was run over them",
            folder.display()
        );
        return Ok(Ran::NotRun);
    };
    let test = [
        "test",
        "--locked",
        "--all-features",
        "--package",
        "keyproof-tpm",
    ];
    run_named_tests(
        cargo(test)
            .args(["--test", "field", "--", "--ignored", "--nocapture"])
            .env(FIELD_DATA, found),
    )?;
    Ok(Ran::Passed)
}

fn summarise(times: &[Timed], all: Duration) {
    println!();
    for (stage, ran, time) in times {
        let note = match ran {
            Ran::Passed => "",
            Ran::NotRun | Ran::NotWhole | Ran::OnlyReported => ran.told(),
        };
        let line = format!("{:<12}{:>10}  {note}", stage.name(), seconds(*time));
        println!("{}", line.trim_end());
    }
    println!("{:<12}{:>10}", "all", seconds(all));
    let stages = lacking(times, false);
    if !stages.is_empty() {
        println!("\nNOT EVERYTHING WAS TRIED: {}", stages.join(", "));
    }
}

/// Returns the stages that could not test everything, without the accepted ones if `excusing`.
fn lacking(times: &[Timed], excusing: bool) -> Vec<String> {
    let lacking = times
        .iter()
        .filter(|(stage, ran, _)| *ran != Ran::Passed && !(excusing && stage.is_excused(*ran)));
    lacking
        .map(|(stage, ran, _)| format!("{} {}", stage.name(), ran.told()))
        .collect()
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_tried_is_told_and_a_whole_run_excuses_two_stages() {
        let time = Duration::ZERO;
        let times = [
            (Stage::Format, Ran::Passed, time),
            (Stage::Instructions, Ran::OnlyReported, time),
            (Stage::Distribution, Ran::NotWhole, time),
            (Stage::Upgrade, Ran::NotRun, time),
            (Stage::Field, Ran::NotRun, time),
        ];
        let whole = ["package NOT WHOLE", "upgrade NOT RUN"];
        assert_eq!(lacking(&times, true), whole);
        let all = [
            "instructions ONLY REPORTED",
            whole[0],
            whole[1],
            "field NOT RUN",
        ];
        assert_eq!(lacking(&times, false), all);
        assert!(!Stage::Instructions.is_excused(Ran::NotRun));
    }

    #[test]
    fn stages_that_take_no_root_ask_for_none() {
        assert!(need_root(&[Stage::Format, Stage::Distribution], true).is_ok());
    }
}
