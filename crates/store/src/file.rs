//! Files that an operator names: read whole, up to a maximum size, and with a time limit for pipes.

use std::{
    fs::{self, File, Metadata},
    io::{self, ErrorKind, Read},
    path::Path,
    time::{Duration, Instant},
};

use zeroize::Zeroizing;

/// How long reading a pipe to its end may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// An open regular file or pipe, such as one from a shell's `<(…)`.
///
/// ```
/// use keyproof_store::file::NamedFile;
///
/// # let folder = tempfile::tempdir()?;
/// let path = folder.path().join("key");
/// std::fs::write(&path, "secret")?;
/// let file = NamedFile::open(&path)?;
/// assert!(file.metadata().is_file()); // also its owner and its permissions
/// assert_eq!(file.read(1_024)?.as_slice(), b"secret");
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct NamedFile {
    file: File,
    metadata: Metadata,
}

impl NamedFile {
    /// Opens the file. It does not wait for a writer to open the other end of a pipe.
    ///
    /// # Errors
    ///
    /// The system's error; of kind [`InvalidInput`](ErrorKind::InvalidInput) if it is a device or a socket.
    pub fn open(path: &Path) -> io::Result<Self> {
        // Checked before opening too, since opening a device may have side effects.
        check_kind(&fs::metadata(path)?)?;
        let file = open_at_once(path)?;
        let metadata = file.metadata()?;
        check_kind(&metadata)?;
        Ok(Self { file, metadata })
    }

    /// The file's metadata, such as its owner and permissions.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// Reads the file to its end. Blocks meanwhile; for a pipe, at most ten seconds.
    ///
    /// # Errors
    ///
    /// The system's error; of kind [`FileTooLarge`](ErrorKind::FileTooLarge) if it has more than `longest` bytes, and
    /// [`TimedOut`](ErrorKind::TimedOut) if a pipe does not end in time.
    pub fn read(self, longest: usize) -> io::Result<Zeroizing<Vec<u8>>> {
        self.read_until(longest, Instant::now() + PATIENCE)
    }

    fn read_until(mut self, longest: usize, deadline: Instant) -> io::Result<Zeroizing<Vec<u8>>> {
        let is_pipe = !self.metadata.is_file();
        let mut bytes = Zeroizing::new(Vec::new());
        let mut chunk = Zeroizing::new([0; 8 * 1024]);
        loop {
            if is_pipe {
                wait(&self.file, deadline)?;
            }
            let read = match self.file.read(&mut *chunk) {
                Ok(0) => return Ok(bytes),
                Ok(read) => read,
                Err(error)
                    if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock) =>
                {
                    continue;
                }
                Err(error) => return Err(error),
            };
            if longest - bytes.len() < read {
                let message = format!("it is longer than {longest} bytes");
                return Err(io::Error::new(ErrorKind::FileTooLarge, message));
            }
            append(&mut bytes, chunk.get(..read).unwrap_or_default());
        }
    }
}

/// Reads the file at `path`, which must be a regular file or a pipe.
///
/// # Errors
///
/// As [`NamedFile::open`] and [`NamedFile::read`].
pub fn read(path: &Path, longest: usize) -> io::Result<Zeroizing<Vec<u8>>> {
    NamedFile::open(path)?.read(longest)
}

/// Reads the file at `path` as text.
///
/// ```
/// use std::io::ErrorKind;
/// use keyproof_store::file;
///
/// # let folder = tempfile::tempdir()?;
/// let path = folder.path().join("token");
/// std::fs::write(&path, "secret-token\n")?;
/// assert_eq!(file::read_text(&path, 1_024)?.trim_end(), "secret-token");
/// assert_eq!(file::read(&path, 5).unwrap_err().kind(), ErrorKind::FileTooLarge);
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
///
/// As [`read`]; of the kind [`InvalidData`](ErrorKind::InvalidData) if it is not UTF-8.
pub fn read_text(path: &Path, longest: usize) -> io::Result<Zeroizing<String>> {
    let mut bytes = read(path, longest)?;
    String::from_utf8(std::mem::take(&mut *bytes))
        .map(Zeroizing::new)
        .map_err(|error| {
            drop(Zeroizing::new(error.into_bytes()));
            io::Error::new(ErrorKind::InvalidData, "it is not UTF-8")
        })
}

/// Appends without leaving a copy of the bytes behind when the buffer moves.
fn append(bytes: &mut Zeroizing<Vec<u8>>, more: &[u8]) {
    let length = bytes.len() + more.len();
    if length > bytes.capacity() {
        let mut larger = Zeroizing::new(Vec::with_capacity(length.max(2 * bytes.capacity())));
        larger.extend_from_slice(bytes);
        *bytes = larger;
    }
    bytes.extend_from_slice(more);
}

fn check_kind(metadata: &Metadata) -> io::Result<()> {
    if metadata.is_file() || is_pipe(metadata) {
        return Ok(());
    }
    if metadata.is_dir() {
        return Err(ErrorKind::IsADirectory.into());
    }
    Err(io::Error::new(
        ErrorKind::InvalidInput,
        "it is neither a regular file nor a pipe",
    ))
}

#[cfg(unix)]
fn is_pipe(metadata: &Metadata) -> bool {
    std::os::unix::fs::FileTypeExt::is_fifo(&metadata.file_type())
}

#[cfg(not(unix))]
fn is_pipe(_: &Metadata) -> bool {
    false
}

#[cfg(unix)]
fn open_at_once(path: &Path) -> io::Result<File> {
    use rustix::fs::{Mode, OFlags, open};
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    Ok(open(path, flags, Mode::empty())?.into())
}

#[cfg(not(unix))]
fn open_at_once(path: &Path) -> io::Result<File> {
    File::open(path)
}

/// Waits until a pipe has data to read, or has no writer any more.
#[cfg(unix)]
fn wait(pipe: &File, deadline: Instant) -> io::Result<()> {
    use rustix::{
        event::{PollFd, PollFlags, Timespec, poll},
        io::Errno,
    };
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).map_err(io::Error::other)?;
        match poll(&mut [PollFd::new(pipe, PollFlags::IN)], Some(&left)) {
            Ok(0) => {
                let message = "it is a pipe, and nobody has written to it whole in time";
                return Err(io::Error::new(ErrorKind::TimedOut, message));
            }
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(not(unix))]
fn wait(_: &File, _: Instant) -> io::Result<()> {
    Ok(())
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::{io::Write, process::Command, thread};

    fn kind(read: io::Result<Zeroizing<Vec<u8>>>) -> Option<ErrorKind> {
        read.err().map(|error| error.kind())
    }

    #[test]
    fn a_file_is_read_whole_and_within_its_bound() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("file");
        for length in [0, 1, 8191, 8192, 8193, 100_000] {
            fs::write(&path, vec![7; length]).expect("a file");
            assert_eq!(*read(&path, length).expect("it fits"), vec![7; length]);
            if let Some(less) = length.checked_sub(1) {
                assert_eq!(kind(read(&path, less)), Some(ErrorKind::FileTooLarge));
            }
        }
        fs::write(&path, b"a\xff").expect("a file");
        let text = read_text(&path, 10).map_err(|error| error.kind());
        assert_eq!(text, Err(ErrorKind::InvalidData));
    }

    #[test]
    fn what_is_neither_a_file_nor_a_pipe_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let zeros = Path::new("/dev/zero");
        assert_eq!(kind(read(zeros, 10)), Some(ErrorKind::InvalidInput));
        assert_eq!(kind(read(folder.path(), 10)), Some(ErrorKind::IsADirectory));
        assert_eq!(
            kind(read(&folder.path().join("absent"), 10)),
            Some(ErrorKind::NotFound)
        );
    }

    #[test]
    fn a_pipe_is_read_to_its_end_and_not_waited_for_without_end() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("pipe");
        let made = Command::new("mkfifo").arg(&path).status().expect("mkfifo");
        assert!(made.success());
        let open = || NamedFile::open(&path).expect("a pipe without a writer");
        assert_eq!(
            kind(open().read_until(10, Instant::now())),
            Some(ErrorKind::TimedOut)
        );

        let write = |text: &'static [u8]| {
            let path = path.clone();
            thread::spawn(move || {
                let mut pipe = fs::OpenOptions::new().write(true).open(path)?;
                pipe.write_all(text)
            })
        };
        let writer = write(b"secret");
        assert_eq!(**open().read(10).expect("it ends"), *b"secret");
        writer.join().expect("no panic").expect("it is read");
        let writer = write(b"longer than ten bytes");
        assert_eq!(kind(open().read(10)), Some(ErrorKind::FileTooLarge));
        // The write may fail, since nobody reads the pipe any more.
        let _ = writer.join().expect("no panic");
    }
}
