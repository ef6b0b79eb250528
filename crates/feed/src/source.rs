//! Where rules come from.

mod file;

pub use file::FileSource;
