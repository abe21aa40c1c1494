//! MP4 (ISO/IEC 14496-12) as far as a transcoder needs it: reading the index of a file, and writing a new file.

pub mod boxes;
pub mod read;
pub mod samples;
pub mod spool;
pub mod write;

/// A part of a track's media on the movie's time line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Edit {
    /// In the movie's timescale.
    pub duration: u64,
    /// Where it begins, in the track's timescale; -1: nothing is shown for so long.
    pub media_time: i64,
    /// 16.16
    pub rate: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Video,
    Audio,
}
