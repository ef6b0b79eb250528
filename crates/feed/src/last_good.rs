//! The last rules that were accepted, on disk, so that a gateway that restarts forwards before any feed answers.
//!
//! ```text
//! natgate-last-good 1 sha256 6f0c...e1 bytes 4711\n     what it is, its form, what the rest has to be
//! {"epoch":...,"version":...,"rules":{...}}              4711 bytes
//! ```
//!
//! A file is read whole or not at all: its length and its checksum stand in front, so a file cut anywhere, or changed
//! anywhere, says so. It is replaced by rename, with the data on disk before the name points at it and the name on disk
//! before [`save`] returns, so a crash leaves the old file or the new one. The text form of the rules is used rather
//! than the wire's, because a person who has to look into it at night can.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rules::model::Rules;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

const MAGIC: &str = "natgate-last-good";
/// The form of this file. Another form is not guessed at.
const FORM: &str = "1";

/// What is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LastGood {
    /// The term of the controller they came from.
    pub epoch: u64,
    /// Its version of them.
    pub version: u64,
    /// The rules in force.
    pub rules: Rules,
}

/// Why there are no last good rules to be had from a file that exists. Each reads as one sentence.
#[derive(Debug, thiserror::Error)]
pub enum LastGoodError {
    /// The file cannot be read or written.
    #[error("the last good rules in {path} cannot be {verb}: {error}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried.
        verb: &'static str,
        /// Why it failed.
        error: io::Error,
    },
    /// It is no file of last good rules, or its first line is damaged.
    #[error("{0} does not begin as a file of last good rules does; it is ignored")]
    NotOurs(PathBuf),
    /// Another version of natgate wrote it.
    #[error(
        "the last good rules in {path} are of form {form}, this natgate reads form {FORM}; they are ignored"
    )]
    OtherForm {
        /// The file.
        path: PathBuf,
        /// The form it says it has.
        form: String,
    },
    /// It is shorter or longer than it was.
    #[error("the last good rules in {path} have {found} bytes of {expected}; they are ignored")]
    Torn {
        /// The file.
        path: PathBuf,
        /// How long it was.
        expected: u64,
        /// How long it is.
        found: u64,
    },
    /// It is not what was written.
    #[error("the last good rules in {0} do not have their checksum; they are ignored")]
    Corrupt(PathBuf),
    /// It is what was written, but not something this natgate understands.
    #[error("the last good rules in {path} cannot be understood ({error}); they are ignored")]
    NotUnderstood {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: serde_json::Error,
    },
}

/// Puts `last_good` in the place of what was there. Blocks until it is on disk.
///
/// # Errors
/// What was there is still there.
pub fn save(path: &Path, last_good: &LastGood) -> Result<(), LastGoodError> {
    let failed = |error| LastGoodError::Io { path: path.to_owned(), verb: "written", error };
    let body = serde_json::to_vec(last_good).map_err(|error| failed(error.into()))?;
    let head = format!("{MAGIC} {FORM} sha256 {} bytes {}\n", checksum(&body), body.len());
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".tmp");
    let temporary = PathBuf::from(temporary);
    let written = write(&temporary, head.as_bytes(), &body).and_then(|()| {
        fs::rename(&temporary, path)?;
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
    });
    written.map_err(|error| {
        let _ = fs::remove_file(&temporary);
        failed(error)
    })
}

fn write(path: &Path, head: &[u8], body: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(head)?;
    file.write_all(body)?;
    file.sync_all()
}

/// Reads what [`save`] wrote; `None` where there is no file.
///
/// # Errors
/// The file is not, to the byte, what was written; nothing of it is used.
pub fn load(path: &Path) -> Result<Option<LastGood>, LastGoodError> {
    match fs::read(path) {
        Ok(bytes) => understand(path, &bytes).map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(LastGoodError::Io { path: path.to_owned(), verb: "read", error }),
    }
}

fn understand(path: &Path, bytes: &[u8]) -> Result<LastGood, LastGoodError> {
    let own = || path.to_owned();
    let not_ours = || LastGoodError::NotOurs(own());
    let end = bytes.iter().position(|byte| *byte == b'\n').ok_or_else(not_ours)?;
    let (head, body) = bytes.split_at(end + 1);
    let head = std::str::from_utf8(head).map_err(|_| not_ours())?.trim_end_matches('\n');
    let fields: Vec<&str> = head.split(' ').collect();
    let (form, sum, length) = match fields.as_slice() {
        [MAGIC, FORM, "sha256", sum, "bytes", length] => (FORM, *sum, *length),
        [MAGIC, form, ..] => (*form, "", ""),
        _ => return Err(not_ours()),
    };
    if form != FORM {
        return Err(LastGoodError::OtherForm { path: own(), form: form.escape_debug().take(16).collect() });
    }
    let expected: u64 = length.parse().map_err(|_| not_ours())?;
    let found = body.len() as u64;
    if found != expected {
        return Err(LastGoodError::Torn { path: own(), expected, found });
    }
    if sum != checksum(body) {
        return Err(LastGoodError::Corrupt(own()));
    }
    serde_json::from_slice(body).map_err(|error| LastGoodError::NotUnderstood { path: own(), error })
}

fn checksum(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    fn saved() -> (tempfile::TempDir, PathBuf, LastGood, Vec<u8>) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("last-good");
        let last_good = LastGood { epoch: 3, version: 7, rules: testing::rules(2) };
        save(&path, &last_good).unwrap();
        let bytes = fs::read(&path).unwrap();
        (directory, path, last_good, bytes)
    }

    #[test]
    fn what_was_saved_is_loaded_and_no_file_is_nothing() {
        let (directory, path, last_good, _) = saved();
        assert_eq!(load(&path).unwrap(), Some(last_good));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "no temporary file is left");
        assert_eq!(load(&directory.path().join("absent")).unwrap(), None);
    }

    #[test]
    fn a_file_cut_at_any_byte_is_never_half_read() {
        let (_directory, path, _, bytes) = saved();
        for length in 0..bytes.len() {
            let error = understand(&path, &bytes[..length]).expect_err("cut").to_string();
            assert!(!error.contains('\n'), "one sentence: {error}");
        }
        let longer = [bytes.as_slice(), b" "].concat();
        assert!(matches!(understand(&path, &longer), Err(LastGoodError::Torn { .. })));
    }

    #[test]
    fn a_file_with_any_bit_flipped_is_never_read() {
        let (_directory, path, _, bytes) = saved();
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut damaged = bytes.clone();
                damaged[at] ^= 1 << bit;
                assert!(
                    understand(&path, &damaged).is_err(),
                    "bit {bit} of byte {at} flipped, and nobody saw it"
                );
            }
        }
    }

    #[test]
    fn a_file_of_another_form_says_so() {
        let (_directory, path, _, bytes) = saved();
        let text =
            String::from_utf8(bytes).unwrap().replacen("natgate-last-good 1 ", "natgate-last-good 2 ", 1);
        fs::write(&path, text).unwrap();
        let error = load(&path).unwrap_err();
        assert!(matches!(&error, LastGoodError::OtherForm { form, .. } if form == "2"), "{error}");
    }

    #[test]
    fn a_failed_save_leaves_what_was_there() {
        let (directory, path, last_good, _) = saved();
        // A directory in the way of the temporary file stands for a full disk: the write fails.
        fs::create_dir(directory.path().join("last-good.tmp")).unwrap();
        assert!(save(&path, &LastGood::default()).is_err());
        assert_eq!(load(&path).unwrap(), Some(last_good));
    }
}
