//! A file of rules, watched.
//!
//! The file is polled, not subscribed to: the poll is the same for a file that is replaced by rename, edited in place,
//! or mounted from another machine, and it costs one `stat` in a tenth of a second. A file is read only when it has
//! looked the same for two polls, so that one that is being written is not read in the middle: half a YAML file is
//! often a valid one. (The better way to replace a file is still `mv`.)

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rules::model::Rules;
use sha2::{Digest as _, Sha256};
use tokio::time::MissedTickBehavior;

use crate::reject::{Code, Reject};
use crate::server::{Publisher, Refusal, Source};

const POLL: Duration = Duration::from_millis(100);

/// Rules from a file, YAML or JSON.
#[derive(Clone, Debug)]
pub struct FileSource {
    path: PathBuf,
}

/// What a look at a file's metadata shows; it differs after every change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Look {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// What was in the file, or that it could not be read.
type Sum = Result<[u8; 32], io::ErrorKind>;

impl FileSource {
    /// The file at `path`, which need not exist yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Reads the file once. What it holds is not validated.
    ///
    /// # Errors
    /// The file cannot be read, or is not written as rules are.
    pub fn read(&self) -> Result<Rules, Refusal> {
        read(&self.path).1
    }
}

impl Source for FileSource {
    async fn run(self, publisher: Publisher) {
        let mut ticks = tokio::time::interval(POLL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut seen: Option<Sum> = None;
        let mut settled = None;
        let mut before = None;
        loop {
            ticks.tick().await;
            let now = look(&self.path);
            // The very first look is acted on at once, so that a start does not wait; it settles like any other.
            let first = seen.is_none();
            if first || (settled != Some(now) && before == Some(now)) {
                if !first {
                    settled = Some(now);
                }
                let path = self.path.clone();
                let Ok((sum, rules)) = tokio::task::spawn_blocking(move || read(&path)).await else { return };
                if seen.replace(sum) != Some(sum) {
                    match rules {
                        Ok(rules) => drop(publisher.publish(&self.path.display().to_string(), rules)),
                        Err(refusal) => publisher.refuse(refusal),
                    }
                }
            }
            before = Some(now);
        }
    }
}

fn look(path: &Path) -> Option<Look> {
    let metadata = std::fs::metadata(path).ok()?;
    Some(Look {
        device: metadata.dev(),
        inode: metadata.ino(),
        bytes: metadata.len(),
        modified: (metadata.mtime(), metadata.mtime_nsec()),
        changed: (metadata.ctime(), metadata.ctime_nsec()),
    })
}

fn read(path: &Path) -> (Sum, Result<Rules, Refusal>) {
    let refused = |message: String| Refusal {
        source: path.display().to_string(),
        rejects: vec![Reject::all(Code::Unspecified, message)],
    };
    match read_text(path) {
        Ok(text) => {
            let rules = rules::read_rules(&text).map_err(|error| refused(error.to_string()));
            (Ok(Sha256::digest(&text).into()), rules)
        }
        Err(error) => (Err(error.kind()), Err(refused(format!("the file cannot be read: {error}")))),
    }
}

fn read_text(path: &Path) -> io::Result<String> {
    let metadata = std::fs::metadata(path)?;
    // Reading a pipe or a device may never end.
    if !metadata.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
    }
    if metadata.len() > rules::FILE_BYTES_MAX as u64 {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    std::fs::read_to_string(path)
}
