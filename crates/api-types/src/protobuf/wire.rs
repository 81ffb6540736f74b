//! Protobuf's wire format: varints, tags, length-delimited fields.

use super::DecodeError;

pub(super) const VARINT: u8 = 0;
pub(super) const FIXED64: u8 = 1;
pub(super) const BYTES: u8 = 2;
pub(super) const FIXED32: u8 = 5;

pub(super) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

pub(super) fn put_tag(out: &mut Vec<u8>, number: u32, wire: u8) {
    put_varint(out, u64::from(number) << 3 | u64::from(wire));
}

pub(super) fn put_bytes(out: &mut Vec<u8>, number: u32, bytes: &[u8]) {
    put_head(out, number, bytes.len());
    out.extend_from_slice(bytes);
}

/// What precedes a field of `length` bytes.
pub(super) fn put_head(out: &mut Vec<u8>, number: u32, length: usize) {
    put_tag(out, number, BYTES);
    put_varint(out, length as u64);
}

pub(super) fn put_int(out: &mut Vec<u8>, number: u32, value: i64) {
    put_tag(out, number, VARINT);
    put_varint(out, value as u64);
}

/// One field's raw content.
#[derive(Clone, Copy, Debug)]
pub(super) enum Content<'a> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'a [u8]),
}

/// Reads the fields of one message.
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(message: &'a [u8]) -> Self {
        Reader { rest: message }
    }

    /// How many bytes are still to be read.
    pub(super) fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// The next field's number and content.
    pub(super) fn next(&mut self) -> Result<Option<(u32, Content<'a>)>, DecodeError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let number = u32::try_from(tag >> 3).ok().filter(|n| *n > 0).ok_or(DecodeError::Malformed("illegal tag"))?;
        let content = match (tag & 7) as u8 {
            VARINT => Content::Varint(self.varint()?),
            FIXED64 => {
                let bytes = self.take(8)?;
                Content::Fixed64(u64::from_le_bytes(bytes.try_into().map_err(|_| DecodeError::Truncated)?))
            }
            BYTES => {
                let length = usize::try_from(self.varint()?).map_err(|_| DecodeError::Truncated)?;
                Content::Bytes(self.take(length)?)
            }
            FIXED32 => {
                let bytes = self.take(4)?;
                Content::Fixed64(u32::from_le_bytes(bytes.try_into().map_err(|_| DecodeError::Truncated)?).into())
            }
            _ => return Err(DecodeError::Malformed("illegal wire type")),
        };
        Ok(Some((number, content)))
    }

    fn varint(&mut self) -> Result<u64, DecodeError> {
        let mut value = 0;
        for (index, byte) in self.rest.iter().copied().enumerate().take(10) {
            value |= u64::from(byte & 0x7f) << (7 * index);
            if byte < 0x80 {
                self.rest = &self.rest[index + 1..];
                return Ok(value);
            }
        }
        Err(if self.rest.len() < 10 { DecodeError::Truncated } else { DecodeError::Malformed("integer overflow") })
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(DecodeError::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }
}
