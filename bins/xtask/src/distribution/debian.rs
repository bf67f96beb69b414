//! The Debian package.

use std::{io, path::Path};

use super::{
    Contents, architecture, names, read,
    tree::{Node, Tree, gzip},
};
use crate::failure::Failure;

const SCRIPTS: [&str; 4] = ["postinst", "postrm", "preinst", "prerm"];
const CONFIGURATION: &str = "etc/keyproof/keyproof.toml";

/// Returns the package's bytes. `revision` is Debian's part of the version.
pub(super) fn pack(contents: &Contents, revision: u32) -> Result<Vec<u8>, Failure> {
    let data = files(contents)?;
    let control = control(contents, &data, revision)?;
    write(contents.epoch, &control, &data).map_err(Failure::at("the Debian package"))
}

/// Returns the file's name in Debian's form.
pub(super) fn name(contents: &Contents, revision: u32) -> String {
    let version = &contents.version;
    format!("keyproof_{version}-{revision}_{}.deb", architecture())
}

fn files(contents: &Contents) -> Result<Tree, Failure> {
    let mut tree = Tree::default();
    tree.put(
        "usr/bin/keyproof",
        Node::File(contents.program.clone()),
        0o755,
        0,
    );
    for unit in names("contrib/systemd")? {
        let text = read(format!("contrib/systemd/{unit}"))?;
        let text = String::from_utf8_lossy(&text).replace("/usr/local/bin/", "/usr/bin/");
        tree.file(&format!("usr/lib/systemd/system/{unit}"), text);
    }
    tree.file(
        "usr/lib/systemd/system-preset/50-keyproof.preset",
        read("contrib/debian/keyproof.preset")?,
    );
    let configuration = read("contrib/debian/keyproof.toml")?;
    tree.put("etc/keyproof", Node::Folder, 0o750, 0);
    tree.put(CONFIGURATION, Node::File(configuration), 0o640, 0);
    for (name, page) in &contents.manual {
        let section = name.rsplit('.').next().unwrap_or_default();
        let page = gzip(page).map_err(Failure::at(name))?;
        tree.file(&format!("usr/share/man/man{section}/{name}.gz"), page);
    }
    for (shell, path) in [
        ("bash", "usr/share/bash-completion/completions/keyproof"),
        ("fish", "usr/share/fish/vendor_completions.d/keyproof.fish"),
        ("zsh", "usr/share/zsh/vendor-completions/_keyproof"),
    ] {
        let script = contents.completions.get(shell).cloned();
        tree.file(path, script.unwrap_or_default());
    }
    let about = "usr/share/doc/keyproof";
    tree.file(
        &format!("{about}/copyright"),
        read("contrib/debian/copyright")?,
    );
    for file in ["LICENSE-APACHE", "LICENSE-MIT", "README.md"] {
        tree.file(&format!("{about}/{file}"), read(file)?);
    }
    // Where they are in the repository, because the pages refer to one another by their places.
    for folder in ["docs", "docs/operate"] {
        for name in names(folder)? {
            if Path::new(&name).extension().is_some_and(|end| end == "md") {
                let page = format!("{folder}/{name}");
                tree.file(&format!("{about}/{page}"), read(&page)?);
            }
        }
    }
    for example in ["grafana/keyproof.json", "prometheus/keyproof.rules.yml"] {
        let text = read(format!("contrib/{example}"))?;
        tree.file(&format!("{about}/examples/{example}"), text);
    }
    tree.file(&format!("{about}/sbom.cdx.json"), contents.bill.clone());
    Ok(tree)
}

fn control(contents: &Contents, data: &Tree, revision: u32) -> Result<Tree, Failure> {
    let bytes: usize = data.files().map(|(_, content)| content.len()).sum();
    let mut tree = Tree::default();
    tree.file(
        "control",
        format!(
            "Package: keyproof\nVersion: {}-{revision}\nArchitecture: {}\n\
             Maintainer: The keyproof developers\nInstalled-Size: {}\n\
             Depends: libc6 (>= {}), libgcc-s1, init-system-helpers, passwd\nRecommends: ca-certificates\n\
             Suggests: postgresql, tpm2-tools\nSection: net\nPriority: optional\n\
             Description: proves possession of keys, over wire contracts that exist\n \
             A server for one-time codes of point-of-sale devices (GNU Taler), proofs of\n \
             possession of CA keys (Azure DPS), TPM-backed device identity (F5 XC) and\n \
             second factors (emnify), on SQLite or PostgreSQL.\n",
            contents.version,
            architecture(),
            bytes.div_ceil(1024),
            glibc(&contents.program),
        ),
    );
    // dpkg itself computes the files' checksums when it unpacks them.
    tree.file("conffiles", format!("/{CONFIGURATION}\n"));
    for script in SCRIPTS {
        let text = read(format!("contrib/debian/{script}"))?;
        tree.put(script, Node::File(text), 0o755, 0);
    }
    Ok(tree)
}

fn write(epoch: u64, control: &Tree, data: &Tree) -> io::Result<Vec<u8>> {
    let mut archive = ar::Builder::new(Vec::new());
    for (name, content) in [
        ("debian-binary", b"2.0\n".to_vec()),
        ("control.tar.gz", gzip(&control.tar(epoch)?)?),
        ("data.tar.gz", gzip(&data.tar(epoch)?)?),
    ] {
        let mut header = ar::Header::new(name.into(), content.len() as u64);
        header.set_mode(0o100_644);
        header.set_mtime(epoch);
        archive.append(&header, content.as_slice())?;
    }
    archive.into_inner()
}

/// Returns the newest version of the C library that a program requires.
fn glibc(program: &[u8]) -> String {
    const MARK: &[u8] = b"GLIBC_";
    let newest = program
        .windows(MARK.len())
        .enumerate()
        .filter(|(_, window)| *window == MARK)
        .filter_map(|(at, _)| {
            let rest = program.get(at + MARK.len()..)?;
            let digits = rest
                .iter()
                .take_while(|byte| byte.is_ascii_digit() || **byte == b'.');
            let version: Vec<u8> = digits.copied().collect();
            let (major, minor) = std::str::from_utf8(&version).ok()?.split_once('.')?;
            let minor = minor.split('.').next()?;
            Some((major.parse::<u32>().ok()?, minor.parse::<u32>().ok()?))
        })
        .max();
    let (major, minor) = newest.unwrap_or((2, 0));
    format!("{major}.{minor}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_c_library_is_the_newest_that_the_program_asks_for() {
        let program = b"\0GLIBC_2.9\0GLIBC_2.34\0GLIBC_2.2.5\0GLIBC_PRIVATE\0";
        assert_eq!(glibc(program), "2.34");
        assert_eq!(glibc(b""), "2.0");
    }
}
