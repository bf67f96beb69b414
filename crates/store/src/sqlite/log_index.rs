//! Reads the log's index to determine which state the file is in.
//!
//! Its first 136 bytes are specified (<https://sqlite.org/walformat.html#the_wal_index_file_format>). They begin with
//! two copies of a 48-byte head, which every connection writes when it commits and compares before it reads. Different
//! states of a file have different heads: a head includes a commit counter, the number of frames in the log, and a
//! checksum over all of them.

use std::{fs::File, io, path::Path};

/// The length of a head, in bytes.
const HEAD: usize = 48;
/// The position of the commit counter (`iChange`) in a head, in native byte order.
const CHANGE: std::ops::Range<usize> = 8..12;

/// A committed state of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct State([u8; HEAD]);

impl State {
    /// Whether exactly one commit leads from `earlier` to this state.
    pub(super) fn follows(self, earlier: Self) -> bool {
        match (self.change(), earlier.change()) {
            (Some(this), Some(earlier)) => this == earlier.wrapping_add(1),
            _ => false,
        }
    }

    fn change(self) -> Option<u32> {
        let bytes = self.0.get(CHANGE)?.try_into().ok()?;
        Some(u32::from_ne_bytes(bytes))
    }

    /// The two heads are written one after the other. If they differ, a write is in progress.
    fn of(heads: &[u8; 2 * HEAD]) -> Option<Self> {
        let (first, second) = heads.split_first_chunk::<HEAD>()?;
        (first == second).then_some(Self(*first))
    }
}

/// The index of a log, which stays in place as long as a connection is open.
#[derive(Debug)]
pub(super) struct LogIndex(Option<&'static File>);

impl LogIndex {
    /// Opens the index at `path`, which must exist.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        imp::open(path).map(Some).map(Self)
    }

    /// An index without any information.
    #[cfg(test)]
    pub(super) const fn none() -> Self {
        Self(None)
    }

    /// The state that the next read would see, if it can be determined without waiting for a disk.
    pub(super) fn state(&self) -> Option<State> {
        let mut heads = [0; 2 * HEAD];
        imp::read(self.0?, &mut heads).then_some(())?;
        State::of(&heads)
    }
}

/// On other systems nothing is cached.
#[cfg(not(unix))]
mod imp {
    use std::{fs::File, io, path::Path};

    pub(super) fn open(path: &Path) -> io::Result<&'static File> {
        Ok(Box::leak(Box::new(File::open(path)?)))
    }

    pub(super) fn read(_: &File, _: &mut [u8]) -> bool {
        false
    }
}

#[cfg(unix)]
mod imp {
    use std::{
        collections::BTreeMap,
        fs::File,
        io,
        os::unix::fs::{FileExt, MetadataExt},
        path::Path,
        sync::{Mutex, PoisonError},
    };

    /// Every index that this process has opened, by device and number. Closing one would release SQLite's locks on it
    /// (fcntl(2)), including those of another engine on the same file. So none is ever closed, and none is opened
    /// twice.
    static OPENED: Mutex<BTreeMap<(u64, u64), &'static File>> = Mutex::new(BTreeMap::new());

    pub(super) fn open(path: &Path) -> io::Result<&'static File> {
        let mut opened = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
        let found = std::fs::metadata(path)?;
        if let Some(file) = opened.get(&(found.dev(), found.ino())) {
            return Ok(file);
        }
        let file: &'static File = Box::leak(Box::new(File::open(path)?));
        // The opened file may differ from the one that was checked.
        let found = file.metadata()?;
        opened.insert((found.dev(), found.ino()), file);
        Ok(file)
    }

    #[cfg(target_os = "linux")]
    pub(super) fn read(file: &File, bytes: &mut [u8]) -> bool {
        use rustix::io::{Errno, ReadWriteFlags, preadv2};
        let wanted = bytes.len();
        let mut into = [io::IoSliceMut::new(bytes)];
        match preadv2(file, &mut into, 0, ReadWriteFlags::NOWAIT) {
            Ok(read) => read == wanted,
            // The file system does not support the flag; in-memory ones do not.
            Err(Errno::OPNOTSUPP) => file.read_exact_at(bytes, 0).is_ok(),
            Err(_) => false,
        }
    }

    #[cfg(not(target_os = "linux"))]
    pub(super) fn read(file: &File, bytes: &mut [u8]) -> bool {
        file.read_exact_at(bytes, 0).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_heads_that_differ_are_no_state() {
        let mut heads = [7; 2 * HEAD];
        let state = State::of(&heads).unwrap();
        heads[2 * HEAD - 1] = 8;
        assert_eq!(State::of(&heads), None);
        heads[HEAD - 1] = 8;
        assert_ne!(State::of(&heads), Some(state));
    }

    #[test]
    fn a_state_follows_that_of_one_commit_before() {
        let state = |change: u32| {
            let mut head = [7; HEAD];
            head[CHANGE].copy_from_slice(&change.to_ne_bytes());
            State(head)
        };
        assert!(state(5).follows(state(4)));
        assert!(state(0).follows(state(u32::MAX)));
        for other in [3, 5, 6] {
            assert!(!state(5).follows(state(other)), "{other}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn an_index_is_opened_once_for_all_and_one_that_is_cut_short_tells_nothing() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), [7; 2 * HEAD]).unwrap();
        let index = LogIndex::open(file.path()).unwrap();
        assert_eq!(index.state(), State::of(&[7; 2 * HEAD]));
        let again = LogIndex::open(file.path()).unwrap();
        assert!(std::ptr::eq(index.0.unwrap(), again.0.unwrap()));
        file.as_file().set_len(HEAD as u64).unwrap();
        assert_eq!(index.state(), None);
    }
}
