//! The files of a package, and their tar archive. The same files result in the same bytes.

use std::{
    collections::BTreeMap,
    io::{self, Seek, Write},
    process::{Command, Stdio},
};

use tar::{Builder, EntryType, Header};

/// The kind of a file.
#[derive(Clone)]
pub(super) enum Node {
    Folder,
    File(Vec<u8>),
    /// A link and its target.
    Link(String),
}

/// Files by path, without a leading slash.
#[derive(Clone, Default)]
pub(super) struct Tree(BTreeMap<String, Entry>);

#[derive(Clone)]
struct Entry {
    node: Node,
    mode: u32,
    owner: u64,
}

impl Tree {
    /// Adds a file that anybody can read.
    pub(super) fn file(&mut self, path: &str, text: impl Into<Vec<u8>>) {
        self.put(path, Node::File(text.into()), 0o644, 0);
    }

    /// Adds a file or folder with this mode, user and group.
    pub(super) fn put(&mut self, path: &str, node: Node, mode: u32, owner: u64) {
        for (at, _) in path.match_indices('/') {
            self.0.entry(path[..at].to_owned()).or_insert(Entry {
                node: Node::Folder,
                mode: 0o755,
                owner: 0,
            });
        }
        self.0.insert(path.to_owned(), Entry { node, mode, owner });
    }

    /// Returns each file's path and content.
    pub(super) fn files(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.0.iter().filter_map(|(path, entry)| match &entry.node {
            Node::File(content) => Some((path.as_str(), content.as_slice())),
            Node::Folder | Node::Link(_) => None,
        })
    }

    /// Returns the archive. Each file has the time `epoch`, in seconds since 1970.
    pub(super) fn tar(&self, epoch: u64) -> io::Result<Vec<u8>> {
        let mut archive = Builder::new(Vec::new());
        for (path, entry) in &self.0 {
            let mut header = Header::new_gnu();
            header.set_mode(entry.mode);
            header.set_mtime(epoch);
            header.set_uid(entry.owner);
            header.set_gid(entry.owner);
            header.set_size(0);
            match &entry.node {
                Node::Folder => {
                    header.set_entry_type(EntryType::Directory);
                    archive.append_data(&mut header, format!("{path}/"), io::empty())?;
                }
                Node::File(content) => {
                    header.set_entry_type(EntryType::Regular);
                    header.set_size(content.len() as u64);
                    archive.append_data(&mut header, path, content.as_slice())?;
                }
                Node::Link(to) => {
                    header.set_entry_type(EntryType::Symlink);
                    archive.append_link(&mut header, path, to)?;
                }
            }
        }
        archive.into_inner()
    }
}

/// Compresses without a name and a time. Uses the gzip program, because ours is a debug build and would take minutes.
pub(super) fn gzip(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut plain = tempfile::tempfile()?;
    plain.write_all(bytes)?;
    plain.rewind()?;
    let output = Command::new("gzip")
        .args(["--no-name", "--stdout"])
        .stdin(plain)
        .stderr(Stdio::inherit())
        .output()?;
    if output.status.success() {
        Ok(output.stdout)
    } else {
        Err(io::Error::other(format!("gzip: {}", output.status)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_depends_on_the_files_alone_and_not_on_their_order() {
        let mut one = Tree::default();
        one.file("b/c", "3");
        one.file("a", "1");
        let mut other = Tree::default();
        other.file("a", "1");
        other.file("b/c", "3");
        let archive = one.tar(7).unwrap();
        assert_eq!(archive, other.tar(7).unwrap());
        assert_ne!(archive, one.tar(8).unwrap());
        let mut read = tar::Archive::new(archive.as_slice());
        let paths: Vec<_> = read
            .entries()
            .unwrap()
            .map(|entry| entry.unwrap().path().unwrap().display().to_string())
            .collect();
        assert_eq!(paths, ["a", "b/", "b/c"]);
        assert_eq!(gzip(&archive).unwrap(), gzip(&archive).unwrap());
    }
}
