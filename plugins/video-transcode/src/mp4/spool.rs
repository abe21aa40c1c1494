//! The media of a file that is being made, until its index can be written in front of it: in the scratch folder where the job
//! is granted one, so that the film may be longer than memory, else in memory.

use std::fs::{File, OpenOptions};
use std::io::{BufReader, BufWriter, Read, Seek, Write};
use std::path::Path;

use windlass_plugin::Failure;

/// Where a guest finds what it was granted.
const SCRATCH: &str = "/scratch";
/// Bytes of one write: the folder's budget counts parts of 4 KiB as whole ones.
const BUFFER: usize = 256 * 1024;
/// How the failure of a folder begins that is full. What is written over gives no room back, but the next attempt has a new folder.
pub const FULL: &str = "the scratch folder takes no more of the derivative";

#[derive(Debug)]
pub struct Spool {
    kept: Kept,
    bytes: usize,
}

#[derive(Debug)]
enum Kept {
    Memory(Vec<u8>),
    File(BufWriter<File>),
}

impl Spool {
    pub fn open() -> Result<Self, Failure> {
        let folder = Path::new(SCRATCH);
        if folder.is_dir() { Self::in_folder(folder) } else { Ok(Self::in_memory()) }
    }

    pub fn in_memory() -> Self {
        Self { kept: Kept::Memory(Vec::new()), bytes: 0 }
    }

    /// One derivative after the other lies in the same file.
    pub fn in_folder(folder: &Path) -> Result<Self, Failure> {
        let mut options = OpenOptions::new();
        let file = options.create(true).truncate(true).read(true).write(true).open(folder.join("media"));
        Ok(Self { kept: Kept::File(BufWriter::with_capacity(BUFFER, file.map_err(|error| failed(&error))?)), bytes: 0 })
    }

    pub fn len(&self) -> usize {
        self.bytes
    }

    pub fn add(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        match &mut self.kept {
            Kept::Memory(all) => all.extend_from_slice(bytes),
            Kept::File(file) => file.write_all(bytes).map_err(|error| full(&error))?,
        }
        self.bytes += bytes.len();
        Ok(())
    }

    /// All of it, from its beginning.
    pub fn reader(&mut self) -> Result<Box<dyn Read + '_>, Failure> {
        match &mut self.kept {
            Kept::Memory(all) => Ok(Box::new(all.as_slice())),
            Kept::File(file) => {
                file.flush().map_err(|error| full(&error))?;
                file.rewind().map_err(|error| failed(&error))?;
                Ok(Box::new(BufReader::with_capacity(BUFFER, file.get_ref())))
            }
        }
    }
}

/// One that is full is told as any error of a stream: only the run's log says what it was.
fn full(error: &std::io::Error) -> Failure {
    Failure::permanent(format!("{FULL} ({error}); when the log says that it is full, give the job more: grant.scratch"))
}

fn failed(error: &std::io::Error) -> Failure {
    Failure::transient(format!("the scratch folder: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_keeps_what_memory_keeps() {
        let folder = std::env::temp_dir().join(format!("windlass-spool-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        for round in 0..2_u8 {
            let mut spools = [Spool::in_memory(), Spool::in_folder(&folder).unwrap()];
            let read = spools.each_mut().map(|spool| {
                for n in 0..5 {
                    spool.add(&vec![n + round; 100_000]).unwrap();
                }
                let mut all = Vec::new();
                spool.reader().unwrap().read_to_end(&mut all).unwrap();
                // Once as an artifact, once over HTTP.
                let mut again = Vec::new();
                spool.reader().unwrap().read_to_end(&mut again).unwrap();
                assert!(all == again && all.len() == spool.len());
                all
            });
            assert!(read[0] == read[1] && read[0].len() == 500_000, "what was there before is gone");
        }
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
