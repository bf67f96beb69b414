//! `cargo xtask package`: builds a Debian package and an OCI image, each with a bill of materials. The same program
//! always results in the same bytes.

mod bill;
mod debian;
mod image;
mod machine;
mod root;
mod tree;
mod trial;

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use self::image::Base;
use crate::{
    failure::Failure,
    process::{cargo, output, run},
    workspace::{self, empty, write},
};

pub(crate) use trial::hold;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Also builds the program twice, and fails unless both are the same
    #[arg(long)]
    verify: bool,
    /// Debian's part of the version
    #[arg(long, default_value_t = 1)]
    revision: u32,
    /// A program that is already built, instead of a release build
    #[arg(long, value_name = "FILE", conflicts_with = "verify")]
    program: Option<PathBuf>,
}

/// All of the program's features, because users of a package cannot choose them.
const FEATURES: [&str; 2] = ["--features", "keyproof/otlp"];

/// The contents of both packages.
struct Contents {
    version: String,
    /// The last change of the sources in seconds since 1970, which is the time of all packed files.
    epoch: u64,
    program: Vec<u8>,
    /// The man pages by file name.
    manual: BTreeMap<String, Vec<u8>>,
    /// The completions by the shell's name.
    completions: BTreeMap<String, Vec<u8>>,
    bill: String,
}

pub(crate) fn run_package(options: &Options) -> Result<(), Failure> {
    let program = match &options.program {
        Some(path) => path.clone(),
        None => build(options.verify)?,
    };
    let contents = Contents::of(&program)?;
    let made = Made::pack(&contents, options.revision)?;
    let folder = made.write(&contents)?;
    println!("\npackages are in {}", folder.display());
    Ok(())
}

/// Builds the program as released; with `verify` twice, in the same emptied folder.
fn build(verify: bool) -> Result<PathBuf, Failure> {
    let target = workspace::absolute(&workspace::target_folder())?;
    let target = if verify {
        target.join("verify")
    } else {
        target
    };
    let epoch = epoch()?.to_string();
    let build = || {
        run(
            cargo(["build", "--locked", "--release", "--bin", "keyproof"])
                .args(FEATURES)
                .env("SOURCE_DATE_EPOCH", &epoch)
                .env("CARGO_TARGET_DIR", &target),
        )
    };
    let program = target.join("release/keyproof");
    if verify {
        empty(&target)?;
        build()?;
        let first = read(&program)?;
        empty(&target)?;
        build()?;
        if read(&program)? != first {
            return Err(Failure::wrong(program, "two builds of it differ"));
        }
        println!("both builds are the same");
    } else {
        build()?;
    }
    Ok(program)
}

impl Contents {
    fn of(program: &Path) -> Result<Self, Failure> {
        let (version, epoch) = (workspace::version()?, epoch()?);
        let pages = tempfile::tempdir().map_err(Failure::at(env::temp_dir()))?;
        run(Command::new(program).arg("manual").arg(pages.path()))?;
        let mut manual = BTreeMap::new();
        for name in names(&pages)? {
            let page = read(pages.path().join(&name))?;
            manual.insert(name, page);
        }
        let completions = ["bash", "fish", "zsh"].into_iter().map(|shell| {
            let script = output(Command::new(program).args(["completions", shell]))?;
            Ok((shell.to_owned(), script.into_bytes()))
        });
        Ok(Self {
            completions: completions.collect::<Result<_, Failure>>()?,
            bill: bill::of(&version, epoch, &[])?,
            program: read(program)?,
            manual,
            version,
            epoch,
        })
    }
}

/// Both packages.
struct Made {
    /// The file's name and bytes.
    debian: (String, Vec<u8>),
    image: tree::Tree,
    image_bill: String,
}

impl Made {
    /// Packs both twice.
    fn pack(contents: &Contents, revision: u32) -> Result<Self, Failure> {
        let folder = tempfile::tempdir().map_err(Failure::at(env::temp_dir()))?;
        let base = Base::download(folder.path())?;
        let debian = debian::pack(contents, revision)?;
        let (image, image_bill) = image::pack(contents, &base)?;
        let (again, _) = image::pack(contents, &base)?;
        let is_same =
            debian == debian::pack(contents, revision)? && image.files().eq(again.files());
        if !is_same {
            return Err(Failure::wrong(
                "the packages",
                "packed twice from one program, they differ",
            ));
        }
        Ok(Self {
            debian: (debian::name(contents, revision), debian),
            image,
            image_bill,
        })
    }

    /// Writes them into the target folder, and returns that.
    fn write(&self, contents: &Contents) -> Result<PathBuf, Failure> {
        let folder = workspace::absolute(&workspace::target_folder().join("distribution"))?;
        let (name, bytes) = &self.debian;
        let stem = format!("keyproof-{}-oci", contents.version);
        let image = folder.join(&stem);
        empty(&image)?;
        write(&folder.join(name), bytes)?;
        write(
            &folder.join(format!("{name}.cdx.json")),
            contents.bill.as_bytes(),
        )?;
        for (path, content) in self.image.files() {
            write(&image.join(path), content)?;
        }
        let archive = self.image.tar(contents.epoch);
        let archive = archive.map_err(Failure::at(&image))?;
        write(&folder.join(format!("{stem}.tar")), &archive)?;
        write(
            &folder.join(format!("{stem}.cdx.json")),
            self.image_bill.as_bytes(),
        )?;
        Ok(folder)
    }
}

/// Returns `SOURCE_DATE_EPOCH`, or the time of the last commit.
fn epoch() -> Result<u64, Failure> {
    let text = match env::var("SOURCE_DATE_EPOCH") {
        Ok(text) => text,
        Err(_) => output(Command::new("git").args(["log", "-1", "--format=%ct"]))?,
    };
    text.trim()
        .parse()
        .map_err(|_| Failure::wrong("SOURCE_DATE_EPOCH", "not a number of seconds since 1970"))
}

/// Returns this machine's architecture in Debian's terms.
fn architecture() -> &'static str {
    match env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// Returns this machine's target triple.
fn triple() -> Result<String, Failure> {
    let about = output(Command::new("rustc").arg("--version").arg("--verbose"))?;
    let host = about.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned)
        .ok_or_else(|| Failure::wrong("rustc", "does not say for which machine it builds"))
}

fn read(path: impl AsRef<Path>) -> Result<Vec<u8>, Failure> {
    fs::read(&path).map_err(Failure::at(path))
}

/// Returns a time in seconds since 1970 as a timestamp of RFC 3339.
fn timestamp(epoch: u64) -> Option<String> {
    let time = jiff::Timestamp::from_second(i64::try_from(epoch).ok()?);
    Some(time.ok()?.to_string())
}

/// Returns the sorted names of the files in a folder.
fn names(folder: impl AsRef<Path>) -> Result<Vec<String>, Failure> {
    let entries = workspace::entries(folder)?;
    let names = entries.iter().filter_map(|path| path.file_name());
    Ok(names
        .map(|name| name.to_string_lossy().into_owned())
        .collect())
}
