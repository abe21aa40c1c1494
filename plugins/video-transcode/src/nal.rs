//! H.264's units, as an MP4 has them (a length in front) and as codecs want them (a start code in front).

use windlass_plugin::Failure;

use crate::mp4::boxes::{Boxes, Reader, boxed};
use crate::mp4::write::Writer;

const START: [u8; 4] = [0, 0, 0, 1];
const SPS: u8 = 7;
const PPS: u8 = 8;
/// Width, height and what else stands before the boxes of a picture's sample entry.
const VISUAL: usize = 78;

/// How the frames of a track are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Format {
    /// Bytes of a length.
    length: usize,
    /// Parameter sets with start codes, to be decoded before the first frame.
    pub parameters: Vec<u8>,
    pub width: u32,
    pub height: u32,
    /// Boxes that speak of the picture and not of its coding: shape of the pixels, colours.
    kept: Vec<u8>,
}

impl Format {
    /// Of a sample entry `avc1`.
    pub fn parse(entry: &[u8]) -> Result<Self, Failure> {
        let broken = || Failure::permanent("the source's description of its video (avc1) is cut off");
        let mut head = Reader(entry.get(24..).ok_or_else(broken)?);
        let (width, height) = head.u16().zip(head.u16()).ok_or_else(broken)?;
        let inside = entry.get(VISUAL..).ok_or_else(broken)?;
        let config = Boxes(inside).find(|(name, _)| name == b"avcC").map(|(_, payload)| payload).ok_or_else(broken)?;
        let (length, parameters) = parameters(config).ok_or_else(broken)?;
        let kept = Boxes(inside).filter(|(name, _)| matches!(name, b"pasp" | b"colr"));
        let kept = kept.flat_map(|(name, payload)| boxed(&name, payload)).collect();
        Ok(Self { length, parameters, width: width.into(), height: height.into(), kept })
    }

    /// A frame with start codes instead of lengths.
    pub fn with_start_codes(&self, sample: &[u8]) -> Option<Vec<u8>> {
        let mut out = Vec::with_capacity(sample.len() + 16);
        let mut rest = sample;
        while !rest.is_empty() {
            let (length, behind) = rest.split_at_checked(self.length)?;
            let length = length.iter().fold(0_usize, |length, byte| length << 8 | usize::from(*byte));
            let (unit, behind) = behind.split_at_checked(length)?;
            out.extend(START);
            out.extend_from_slice(unit);
            rest = behind;
        }
        Some(out)
    }

    /// A sample entry for what an encoder made of these pictures.
    pub fn entry(&self, width: u16, height: u16, sps: &[u8], pps: &[u8]) -> Vec<u8> {
        let mut entry = Writer::new();
        entry.zeros(6).u16(1).zeros(16).u16(width).u16(height).u32(0x0048_0000).u32(0x0048_0000).zeros(4).u16(1).zeros(32);
        entry.u16(24).u16(u16::MAX).bytes(&boxed(b"avcC", &config(sps, pps))).bytes(&self.kept);
        boxed(b"avc1", &entry.0)
    }
}

/// Bytes of a length, and the parameter sets.
fn parameters(config: &[u8]) -> Option<(usize, Vec<u8>)> {
    let mut reader = Reader(config);
    reader.take(4)?;
    let length = usize::from(reader.u8()? & 3) + 1;
    let mut parameters = Vec::new();
    for mask in [0x1f, 0xff] {
        for _ in 0..reader.u8()? & mask {
            let size = usize::from(reader.u16()?);
            parameters.extend(START);
            parameters.extend_from_slice(reader.take(size)?);
        }
    }
    Some((length, parameters))
}

fn config(sps: &[u8], pps: &[u8]) -> Vec<u8> {
    let byte = |at: usize| sps.get(at).copied().unwrap_or_default();
    let mut config = vec![1, byte(1), byte(2), byte(3), 0xff];
    for (count, set) in [(0xe1, sps), (1, pps)] {
        config.push(count);
        config.extend(u16::try_from(set.len()).unwrap_or(u16::MAX).to_be_bytes());
        config.extend_from_slice(set);
    }
    if byte(1) >= 100 {
        // 4:2:0, eight bits, no extension: what High asks to be said here.
        config.extend([0xfd, 0xf8, 0xf8, 0]);
    }
    config
}

/// What an encoder made of one frame.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Coded {
    /// Units with lengths of four bytes, without parameter sets.
    pub sample: Vec<u8>,
    pub sps: Option<Vec<u8>>,
    pub pps: Option<Vec<u8>>,
    /// It can be shown without what came before.
    pub can_begin: bool,
}

impl Coded {
    pub fn parse(with_start_codes: &[u8]) -> Self {
        let mut coded = Self::default();
        for unit in units(with_start_codes) {
            match unit.first().map(|first| first & 0x1f) {
                Some(SPS) => coded.sps = Some(unit.to_vec()),
                Some(PPS) => coded.pps = Some(unit.to_vec()),
                kind => {
                    coded.can_begin |= kind == Some(5);
                    coded.sample.extend(u32::try_from(unit.len()).unwrap_or(u32::MAX).to_be_bytes());
                    coded.sample.extend_from_slice(unit);
                }
            }
        }
        coded
    }
}

/// What stands between start codes.
fn units(bytes: &[u8]) -> Vec<&[u8]> {
    let starts: Vec<usize> = bytes.windows(3).enumerate().filter(|(_, three)| *three == [0, 0, 1]).map(|(at, _)| at).collect();
    let ends = starts.iter().skip(1).copied().chain([bytes.len()]);
    let units = starts.iter().zip(ends).map(|(start, end)| {
        let unit = &bytes[start + 3..end];
        // The zero before a start code of four bytes is no part of the unit, which never ends with one.
        &unit[..unit.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)]
    });
    units.filter(|unit| !unit.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn start_codes_become_lengths() {
        let coded = Coded::parse(&[0, 0, 0, 1, 0x67, 1, 2, 0, 0, 0, 1, 0x68, 3, 0, 0, 1, 0x65, 9, 8, 7]);
        assert_eq!((coded.sps, coded.pps), (Some(vec![0x67, 1, 2]), Some(vec![0x68, 3])));
        assert_eq!((coded.sample, coded.can_begin), (vec![0, 0, 0, 4, 0x65, 9, 8, 7], true));
        assert!(!Coded::parse(&[0, 0, 0, 1, 0x41, 9]).can_begin);
    }

    #[test]
    fn an_entry_that_is_written_can_be_read() {
        let format =
            Format { length: 4, parameters: Vec::new(), width: 0, height: 0, kept: boxed(b"pasp", &[0, 0, 0, 4, 0, 0, 0, 3]) };
        let (sps, pps) = ([0x67, 100, 0, 30, 5], [0x68, 1]);
        let entry = format.entry(426, 240, &sps, &pps);
        let (name, payload) = Boxes(&entry).next().unwrap();
        let read = Format::parse(payload).unwrap();
        assert_eq!((&name, read.width, read.height, read.length), (b"avc1", 426, 240, 4));
        assert_eq!(read.parameters, [&START[..], &sps, &START, &pps].concat());
        assert_eq!(read.kept, format.kept);
    }

    #[test]
    fn lengths_become_start_codes() {
        let format = |length| Format { length, parameters: Vec::new(), width: 0, height: 0, kept: Vec::new() };
        assert_eq!(format(2).with_start_codes(&[0, 1, 9, 0, 2, 8, 7]), Some(vec![0, 0, 0, 1, 9, 0, 0, 0, 1, 8, 7]));
        assert_eq!(format(4).with_start_codes(&[0, 0, 0, 9, 1]), None);
    }
}
