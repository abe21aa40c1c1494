//! The samples of a track (frames, pieces of sound), put together from the tables that tell sizes, places and times.

use super::boxes::{Reader, find};

/// More than these are not believed: 60 frames a second for nine hours.
const MAX_SAMPLES: u32 = 2_000_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// In the file.
    pub offset: u64,
    pub size: u32,
    /// When it is shown, in the track's timescale.
    pub pts: i64,
    pub duration: u32,
}

/// `stbl` is the track's sample table.
pub fn samples(stbl: &[u8]) -> Result<Vec<Sample>, String> {
    let sizes = sizes(stbl)?;
    let mut times = Runs::of(stbl, b"stts").ok_or("its table of times (stts) is missing")?;
    let mut shifts = Runs::of(stbl, b"ctts");
    let mut places = Places::of(stbl)?;
    let mut samples = Vec::with_capacity(sizes.len());
    let mut dts: i64 = 0;
    for (n, size) in sizes.iter().enumerate() {
        let short = |table: &str| format!("its table {table} ends at sample {n} of {}", sizes.len());
        let duration = times.next().ok_or_else(|| short("stts"))?;
        let shift = match &mut shifts {
            // Signed in version 1; others write signed ones in version 0, too.
            Some(shifts) => i64::from(shifts.next().ok_or_else(|| short("ctts"))?.cast_signed()),
            None => 0,
        };
        let offset = places.place(*size).ok_or_else(|| short("stco or stsc"))?;
        samples.push(Sample { offset, size: *size, pts: dts + shift, duration });
        dts += i64::from(duration);
    }
    Ok(samples)
}

fn sizes(stbl: &[u8]) -> Result<Vec<u32>, String> {
    let missing = "its table of sizes (stsz) is missing or cut off";
    let mut reader = Reader(find(stbl, b"stsz").ok_or(missing)?);
    let mut head = || {
        reader.version()?;
        Some((reader.u32()?, reader.u32()?))
    };
    let (same, count) = head().ok_or(missing)?;
    if count > MAX_SAMPLES {
        return Err(format!("it says that it has {count} samples; at most {MAX_SAMPLES} are taken"));
    }
    (0..count)
        .map(|_| if same > 0 { Some(same) } else { reader.u32() })
        .collect::<Option<Vec<u32>>>()
        .ok_or_else(|| missing.into())
}

/// A table of (how many, value).
struct Runs<'a> {
    table: Reader<'a>,
    left: u32,
    value: u32,
}

impl<'a> Runs<'a> {
    fn of(stbl: &'a [u8], name: &[u8; 4]) -> Option<Self> {
        let mut table = Reader(find(stbl, name)?);
        table.version()?;
        table.u32()?;
        Some(Self { table, left: 0, value: 0 })
    }

    fn next(&mut self) -> Option<u32> {
        while self.left == 0 {
            (self.left, self.value) = (self.table.u32()?, self.table.u32()?);
        }
        self.left -= 1;
        Some(self.value)
    }
}

/// Where samples lie: in chunks, so many in each.
struct Places<'a> {
    chunks: Reader<'a>,
    wide: bool,
    runs: Reader<'a>,
    /// Samples in each chunk, from this run on.
    per_chunk: u32,
    /// The first chunk of the next run, and its samples.
    next_run: Option<(u32, u32)>,
    chunk: u32,
    left: u32,
    offset: u64,
}

impl<'a> Places<'a> {
    fn of(stbl: &'a [u8]) -> Result<Self, String> {
        let wide = find(stbl, b"stco").is_none();
        let missing = "its table of places (stco, co64 or stsc) is missing or cut off";
        let table = |name| {
            let mut table = Reader(find(stbl, name)?);
            table.version()?;
            table.u32()?;
            Some(table)
        };
        let chunks = table(if wide { b"co64" } else { b"stco" }).ok_or(missing)?;
        let mut runs = table(b"stsc").ok_or(missing)?;
        let next_run = run(&mut runs);
        Ok(Self { chunks, wide, runs, per_chunk: 0, next_run, chunk: 0, left: 0, offset: 0 })
    }

    fn place(&mut self, size: u32) -> Option<u64> {
        while self.left == 0 {
            self.chunk += 1;
            if let Some((first, samples)) = self.next_run.filter(|(first, _)| *first <= self.chunk) {
                debug_assert!(first <= self.chunk);
                self.per_chunk = samples;
                self.next_run = run(&mut self.runs);
            }
            self.offset = if self.wide { self.chunks.u64() } else { self.chunks.u32().map(u64::from) }?;
            self.left = self.per_chunk;
        }
        self.left -= 1;
        let offset = self.offset;
        self.offset = offset.checked_add(u64::from(size))?;
        Some(offset)
    }
}

/// First chunk and samples a chunk; the third number is of no use here.
fn run(runs: &mut Reader) -> Option<(u32, u32)> {
    let run = (runs.u32()?, runs.u32()?);
    runs.u32()?;
    Some(run)
}

#[cfg(test)]
mod tests {
    use super::super::boxes::boxed;
    use super::*;

    /// A full box of these numbers behind version and flags.
    fn table(name: &[u8; 4], numbers: &[u32]) -> Vec<u8> {
        let bytes: Vec<u8> = [0].iter().chain(numbers).flat_map(|number| number.to_be_bytes()).collect();
        boxed(name, &bytes)
    }

    fn stbl() -> Vec<u8> {
        [
            table(b"stsz", &[0, 5, 10, 20, 30, 40, 50]),
            table(b"stts", &[2, 4, 100, 1, 50]),
            table(b"ctts", &[3, 1, 200, 1, 0, 3, 50]),
            table(b"stsc", &[2, 1, 2, 1, 2, 1, 1]),
            table(b"stco", &[4, 1_000, 2_000, 3_000, 4_000]),
        ]
        .concat()
    }

    #[test]
    fn tables_make_samples() {
        let samples = samples(&stbl()).unwrap();
        let places: Vec<_> = samples.iter().map(|sample| (sample.offset, sample.size)).collect();
        assert_eq!(places, [(1_000, 10), (1_010, 20), (2_000, 30), (3_000, 40), (4_000, 50)]);
        assert_eq!(samples.iter().map(|sample| sample.pts).collect::<Vec<_>>(), [200, 100, 250, 350, 450]);
        assert_eq!(samples[4].duration, 50);
    }

    #[test]
    fn what_is_short_is_named() {
        let without = |name: &[u8; 4]| {
            let mut bytes = stbl();
            let at = bytes.windows(4).position(|letters| letters == name).unwrap();
            bytes[at] = b'x';
            samples(&bytes).unwrap_err()
        };
        assert!(without(b"stsz").contains("stsz") && without(b"stts").contains("stts") && without(b"stco").contains("stco"));
        let short =
            [table(b"stsz", &[10, 3]), table(b"stts", &[1, 2, 100]), table(b"stsc", &[1, 1, 9, 1]), table(b"stco", &[1, 8])];
        assert_eq!(samples(&short.concat()).unwrap_err(), "its table stts ends at sample 2 of 3");
        let many = table(b"stsz", &[1, u32::MAX]);
        assert!(samples(&many).unwrap_err().contains("4294967295 samples"));
    }
}
