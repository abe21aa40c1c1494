//! Boxes: a length, four letters, and what is inside.

pub type Name = [u8; 4];

/// One after another; what is cut off or has an impossible length ends it.
pub struct Boxes<'a>(pub &'a [u8]);

impl<'a> Iterator for Boxes<'a> {
    /// Name and payload.
    type Item = (Name, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let header = Header::parse(self.0, self.0.len() as u64)?;
        let size = usize::try_from(header.size).ok().filter(|size| *size <= self.0.len())?;
        let (this, rest) = self.0.split_at(size);
        self.0 = rest;
        Some((header.name, &this[header.length..]))
    }
}

/// The beginning of a box.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    pub name: Name,
    /// Of the whole box.
    pub size: u64,
    /// Of this header.
    pub length: usize,
}

impl Header {
    /// `left` is what there is of the file from here on: a box may say that it goes to the end.
    pub fn parse(bytes: &[u8], left: u64) -> Option<Self> {
        let mut reader = Reader(bytes);
        let (small, name) = (reader.u32()?, reader.name()?);
        let (size, length) = match small {
            0 => (left, 8),
            1 => (reader.u64()?, 16),
            small => (u64::from(small), 8),
        };
        (size >= length as u64).then_some(Self { name, size, length })
    }
}

/// The first box of this name.
pub fn find<'a>(bytes: &'a [u8], name: &Name) -> Option<&'a [u8]> {
    Boxes(bytes).find(|(found, _)| found == name).map(|(_, payload)| payload)
}

/// Along a path of names.
pub fn find_path<'a>(bytes: &'a [u8], path: &[&Name]) -> Option<&'a [u8]> {
    path.iter().try_fold(bytes, |bytes, name| find(bytes, name))
}

/// Numbers in network order, one after another.
pub struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    pub fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    pub fn name(&mut self) -> Option<Name> {
        self.array()
    }

    pub fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    pub fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    pub fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    /// Of 64 bits in version 1, else of 32.
    pub fn wide(&mut self, version: u8) -> Option<u64> {
        if version == 1 { self.u64() } else { self.u32().map(u64::from) }
    }

    /// The version of a full box; its flags are passed by.
    pub fn version(&mut self) -> Option<u8> {
        let version = self.u8()?;
        self.take(3)?;
        Some(version)
    }
}

/// A box with this inside.
pub fn boxed(name: &Name, inside: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(inside.len() + 8);
    // Nothing that is written here comes near to 4 GiB.
    bytes.extend(u32::try_from(inside.len() + 8).unwrap_or(u32::MAX).to_be_bytes());
    bytes.extend(name);
    bytes.extend(inside);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boxes_follow_each_other_and_end_where_they_are_cut() {
        let mut bytes = boxed(b"free", b"abc");
        bytes.extend(boxed(b"moov", &boxed(b"trak", b"x")));
        assert_eq!(Boxes(&bytes).map(|(name, _)| name).collect::<Vec<_>>(), [*b"free", *b"moov"]);
        assert_eq!(find_path(&bytes, &[b"moov", b"trak"]), Some(&b"x"[..]));
        assert_eq!(Boxes(&bytes[..bytes.len() - 1]).count(), 1);
    }

    #[test]
    fn sizes_of_boxes() {
        assert_eq!(Header::parse(b"\0\0\0\0mdat", 99), Some(Header { name: *b"mdat", size: 99, length: 8 }));
        let large = b"\0\0\0\x01mdat\0\0\0\x01\0\0\0\0";
        assert_eq!(Header::parse(large, 99), Some(Header { name: *b"mdat", size: 1 << 32, length: 16 }));
        assert_eq!((Header::parse(b"\0\0\0\x07mdat", 99), Header::parse(b"\0\0\0\x08mda", 99)), (None, None));
    }
}
