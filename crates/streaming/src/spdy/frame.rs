//! SPDY/3.1 frames to and from bytes.
//!
//! The header blocks of one direction share one zlib stream with a preset dictionary, so a codec belongs to one direction of one
//! connection and sees every frame of it in order. Malformed input is an error that ends the connection; sizes are bounded.

use std::collections::BTreeMap;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};

/// Header names (lower case) and values. Several values of a name are joined by NUL on the wire; Kubernetes uses one each.
pub type Headers = BTreeMap<String, String>;

/// The dictionary of the SPDY/3 specification, section 2.6.10.1.
static DICTIONARY: &[u8] = include_bytes!("dictionary.bin");
/// Far above what any header of exec or port-forward needs.
const MAX_HEADER_BLOCK: usize = 256 << 10;
const MAX_CONTROL_FRAME: usize = 64 << 10;
const VERSION: u16 = 3;
const FLAG_FIN: u8 = 1;

/// A frame of SPDY/3.1, as far as Kubernetes uses them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// Opens a stream.
    SynStream { id: u32, fin: bool, headers: Headers },
    /// Accepts a stream.
    SynReply { id: u32, fin: bool, headers: Headers },
    /// Ends a stream abnormally.
    Reset { id: u32, status: u32 },
    /// Ping, and the answer to it.
    Ping(u32),
    /// No new streams will be accepted.
    GoAway { last_id: u32, status: u32 },
    /// More headers.
    Headers { id: u32, fin: bool, headers: Headers },
    /// Bytes of a stream.
    Data { id: u32, fin: bool, data: Bytes },
    /// Settings and window updates: the field's implementations have no flow control but the connection's own (TCP), so they mean nothing.
    Ignored,
}

/// Why bytes are no frame.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The bytes break the protocol.
    #[error("SPDY protocol error: {0}")]
    Malformed(&'static str),
    /// A header block could not be decompressed.
    #[error("SPDY header block cannot be decompressed")]
    Inflate(#[source] flate2::DecompressError),
    /// A header block could not be compressed.
    #[error("SPDY header block cannot be compressed")]
    Deflate(#[source] flate2::CompressError),
}

/// Writes frames.
pub struct Encoder {
    deflate: Compress,
}

impl Encoder {
    /// An encoder for a new connection.
    pub fn new() -> Result<Self, FrameError> {
        let mut deflate = Compress::new(Compression::default(), true);
        deflate.set_dictionary(DICTIONARY).map_err(FrameError::Deflate)?;
        Ok(Self { deflate })
    }

    /// Appends the bytes of `frame` to `out`.
    pub fn encode(&mut self, frame: &Frame, out: &mut BytesMut) -> Result<(), FrameError> {
        match frame {
            Frame::SynStream { id, fin, headers } => {
                let block = self.compress(headers)?;
                control(out, 1, *fin, 10 + block.len());
                out.put_u32(*id);
                out.put_u32(0);
                out.put_u16(0);
                out.put_slice(&block);
            }
            Frame::SynReply { id, fin, headers } => self.with_headers(2, *id, *fin, headers, out)?,
            Frame::Headers { id, fin, headers } => self.with_headers(8, *id, *fin, headers, out)?,
            Frame::Reset { id, status } => {
                control(out, 3, false, 8);
                out.put_u32(*id);
                out.put_u32(*status);
            }
            Frame::Ping(id) => {
                control(out, 6, false, 4);
                out.put_u32(*id);
            }
            Frame::GoAway { last_id, status } => {
                control(out, 7, false, 8);
                out.put_u32(*last_id);
                out.put_u32(*status);
            }
            Frame::Data { id, fin, data } => {
                out.put_u32(id & 0x7fff_ffff);
                out.put_u32(u32::from(*fin) << 24 | length(data.len()));
                out.put_slice(data);
            }
            Frame::Ignored => {}
        }
        Ok(())
    }

    fn with_headers(
        &mut self,
        kind: u16,
        id: u32,
        fin: bool,
        headers: &Headers,
        out: &mut BytesMut,
    ) -> Result<(), FrameError> {
        let block = self.compress(headers)?;
        control(out, kind, fin, 4 + block.len());
        out.put_u32(id);
        out.put_slice(&block);
        Ok(())
    }

    fn compress(&mut self, headers: &Headers) -> Result<Vec<u8>, FrameError> {
        let mut plain = BytesMut::new();
        plain.put_u32(headers.len() as u32);
        for (name, value) in headers {
            plain.put_u32(name.len() as u32);
            plain.put_slice(name.to_ascii_lowercase().as_bytes());
            plain.put_u32(value.len() as u32);
            plain.put_slice(value.as_bytes());
        }
        let mut block = Vec::with_capacity(plain.len() + 64);
        let start = self.deflate.total_in();
        loop {
            let consumed = (self.deflate.total_in() - start) as usize;
            self.deflate
                .compress_vec(&plain[consumed..], &mut block, FlushCompress::Sync)
                .map_err(FrameError::Deflate)?;
            // A sync flush is complete when the output was not filled up.
            if block.len() < block.capacity() {
                return Ok(block);
            }
            block.reserve(1024);
        }
    }
}

fn length(len: usize) -> u32 {
    debug_assert!(len < 1 << 24);
    len as u32 & 0x00ff_ffff
}

fn control(out: &mut BytesMut, kind: u16, fin: bool, len: usize) {
    out.put_u16(0x8000 | VERSION);
    out.put_u16(kind);
    out.put_u32(u32::from(if fin { FLAG_FIN } else { 0 }) << 24 | length(len));
}

/// Reads frames.
pub struct Decoder {
    inflate: Decompress,
}

impl Default for Decoder {
    fn default() -> Self {
        Self { inflate: Decompress::new(true) }
    }
}

impl Decoder {
    /// Takes one frame off the front of `buffer`, or nothing when it is not complete yet.
    pub fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
        if buffer.len() < 8 {
            return Ok(None);
        }
        let first = u32::from_be_bytes([buffer[0], buffer[1], buffer[2], buffer[3]]);
        let fin = buffer[4] & FLAG_FIN != 0;
        let len = u32::from_be_bytes([0, buffer[5], buffer[6], buffer[7]]) as usize;
        let is_control = first & 0x8000_0000 != 0;
        if is_control && len > MAX_CONTROL_FRAME {
            return Err(FrameError::Malformed("control frame too large"));
        }
        if buffer.len() < 8 + len {
            buffer.reserve(8 + len - buffer.len());
            return Ok(None);
        }
        buffer.advance(8);
        let body = buffer.split_to(len).freeze();
        if !is_control {
            return Ok(Some(Frame::Data { id: first, fin, data: body }));
        }
        if (first >> 16) as u16 & 0x7fff != VERSION {
            return Err(FrameError::Malformed("unsupported version"));
        }
        self.control(first as u16, fin, body).map(Some)
    }

    fn control(&mut self, kind: u16, fin: bool, mut body: Bytes) -> Result<Frame, FrameError> {
        let short = FrameError::Malformed("truncated control frame");
        let word = |body: &mut Bytes| {
            if body.len() < 4 { Err(FrameError::Malformed("truncated control frame")) } else { Ok(body.get_u32()) }
        };
        Ok(match kind {
            1 => {
                let id = word(&mut body)? & 0x7fff_ffff;
                if body.len() < 6 {
                    return Err(short);
                }
                body.advance(6);
                Frame::SynStream { id, fin, headers: self.decompress(&body)? }
            }
            2 => Frame::SynReply { id: word(&mut body)? & 0x7fff_ffff, fin, headers: self.decompress(&body)? },
            3 => Frame::Reset { id: word(&mut body)? & 0x7fff_ffff, status: word(&mut body)? },
            6 => Frame::Ping(word(&mut body)?),
            7 => Frame::GoAway { last_id: word(&mut body)?, status: word(&mut body)? },
            8 => Frame::Headers { id: word(&mut body)? & 0x7fff_ffff, fin, headers: self.decompress(&body)? },
            _ => Frame::Ignored,
        })
    }

    fn decompress(&mut self, block: &[u8]) -> Result<Headers, FrameError> {
        let mut plain = Vec::with_capacity(4096);
        let start = self.inflate.total_in();
        loop {
            let consumed = (self.inflate.total_in() - start) as usize;
            match self.inflate.decompress_vec(&block[consumed..], &mut plain, FlushDecompress::Sync) {
                Err(e) if e.needs_dictionary().is_some() => {
                    self.inflate.set_dictionary(DICTIONARY).map_err(FrameError::Inflate)?;
                    continue;
                }
                Err(e) => return Err(FrameError::Inflate(e)),
                Ok(_) => {}
            }
            if plain.len() < plain.capacity() {
                return parse_headers(Bytes::from(plain));
            }
            if plain.len() > MAX_HEADER_BLOCK {
                return Err(FrameError::Malformed("header block too large"));
            }
            plain.reserve(4096);
        }
    }
}

fn parse_headers(mut plain: Bytes) -> Result<Headers, FrameError> {
    let truncated = || FrameError::Malformed("truncated header block");
    if plain.len() < 4 {
        return Err(truncated());
    }
    let count = plain.get_u32();
    let mut headers = Headers::new();
    let field = |plain: &mut Bytes| -> Result<String, FrameError> {
        if plain.len() < 4 {
            return Err(truncated());
        }
        let len = plain.get_u32() as usize;
        if plain.len() < len {
            return Err(truncated());
        }
        String::from_utf8(plain.split_to(len).to_vec()).map_err(|_| FrameError::Malformed("header is not UTF-8"))
    };
    for _ in 0..count {
        let name = field(&mut plain)?;
        let value = field(&mut plain)?;
        headers.insert(name, value);
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> Headers {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn frames_survive_the_wire_in_any_slicing() {
        let frames = vec![
            Frame::SynStream { id: 1, fin: false, headers: headers(&[("streamtype", "error")]) },
            Frame::SynStream { id: 3, fin: true, headers: headers(&[("streamtype", "stdin"), ("port", "80")]) },
            Frame::SynReply { id: 1, fin: false, headers: Headers::new() },
            Frame::Headers { id: 1, fin: false, headers: headers(&[("x", &"long ".repeat(3000))]) },
            Frame::Data { id: 3, fin: true, data: Bytes::from_static(b"hello") },
            Frame::Ping(7),
            Frame::Reset { id: 3, status: 5 },
            Frame::GoAway { last_id: 3, status: 0 },
        ];
        let mut encoder = Encoder::new().unwrap();
        let mut wire = BytesMut::new();
        for frame in &frames {
            encoder.encode(frame, &mut wire).unwrap();
        }
        for step in [1, 7, wire.len()] {
            let (mut decoder, mut buffer, mut got) = (Decoder::default(), BytesMut::new(), Vec::new());
            for chunk in wire.chunks(step) {
                buffer.extend_from_slice(chunk);
                while let Some(frame) = decoder.decode(&mut buffer).unwrap() {
                    got.push(frame);
                }
            }
            assert_eq!(got, frames, "in steps of {step}");
        }
    }

    #[test]
    fn garbage_is_refused() {
        for bytes in [
            &b"\x80\x02\x00\x01\x00\x00\x00\x00"[..],
            b"\x80\x03\x00\x01\x00\xff\xff\xff",
            b"\x80\x03\x00\x02\x00\x00\x00\x06\x00\x00\x00\x01zz",
        ] {
            assert!(Decoder::default().decode(&mut BytesMut::from(bytes)).is_err());
        }
    }
}
