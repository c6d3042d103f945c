//! Where the frames of an HTTP/2 connection begin and end (RFC 9113, section 4.1), so that bytes of bodies can be told
//! from bytes of heads without decoding either. Pure.

/// Bytes of a frame's header: its length (3), its type, its flags, its stream (4).
const HEADER: usize = 9;
/// The type of a frame that holds a part of a body.
const DATA: u8 = 0;
/// A DATA frame shorter than this costs more than its bytes.
const LARGE: usize = 1024;

/// A walk over what a client sends, from the connection's first byte on.
#[derive(Debug)]
pub(super) struct Frames {
    /// The next frame's header, as far as it has come.
    header: [u8; HEADER],
    /// How many of them.
    have: usize,
    /// Bytes that the frame, or the preface, still has.
    left: usize,
    /// Whether those are of a large DATA frame.
    is_body: bool,
}

impl Default for Frames {
    fn default() -> Self {
        Self { header: [0; HEADER], have: 0, left: Self::PREFACE.len(), is_body: false }
    }
}

impl Frames {
    /// What a client sends before its first frame.
    pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

    /// Passes the next bytes; whether all of them are of bodies, in frames that are not small.
    pub fn are_of_a_body(&mut self, mut bytes: &[u8]) -> bool {
        let mut all = true;
        while !bytes.is_empty() {
            if self.left == 0 {
                let room = self.header.get_mut(self.have..).unwrap_or_default();
                let (part, rest) = bytes.split_at(bytes.len().min(room.len()));
                room.iter_mut().zip(part).for_each(|(to, from)| *to = *from);
                self.have += part.len();
                bytes = rest;
                if self.have == HEADER {
                    let [a, b, c, kind, ..] = self.header;
                    self.left = u32::from_be_bytes([0, a, b, c]) as usize;
                    self.is_body = kind == DATA && self.left >= LARGE;
                    self.have = 0;
                    all &= self.is_body;
                }
                continue;
            }
            let (part, rest) = bytes.split_at(bytes.len().min(self.left));
            self.left -= part.len();
            bytes = rest;
            all &= self.is_body;
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(length: u32, kind: u8) -> Vec<u8> {
        let mut frame = length.to_be_bytes()[1..].to_vec();
        frame.extend([kind, 0, 0, 0, 0, 1]);
        frame.extend(vec![0; length as usize]);
        frame
    }

    #[test]
    fn bytes_of_large_data_frames_are_told_from_all_others_however_they_are_cut() {
        let parts = [(Frames::PREFACE.to_vec(), false), (frame(0, 4), false), (frame(300, 1), false)];
        let bodies = [(frame(16_384, DATA), true), (frame(1024, DATA), true), (frame(1023, DATA), false)];
        let more = [(frame(0, DATA), false), (frame(2000, 1), false), (frame(5000, DATA), true)];
        let all: Vec<(Vec<u8>, bool)> = [&parts[..], &bodies, &more].concat();
        for piece in [1, 2, 8, 9, 10, 100, 1000, 100_000] {
            let mut frames = Frames::default();
            for (bytes, is_body) in &all {
                // A header that is not whole yet tells nothing; the piece with its last byte does.
                let told: Vec<bool> = bytes.chunks(piece).map(|piece| frames.are_of_a_body(piece)).collect();
                assert_eq!(!told.contains(&false), *is_body, "pieces of {piece}, {} bytes", bytes.len());
            }
        }
    }

    #[test]
    fn a_piece_with_bytes_of_both_is_not_of_a_body() {
        let mut frames = Frames::default();
        frames.are_of_a_body(Frames::PREFACE);
        assert!(!frames.are_of_a_body(&[frame(2000, DATA), frame(20, 1)].concat()));
        assert!(frames.are_of_a_body(&frame(2000, DATA)));
        assert!(frames.are_of_a_body(&[]));
    }
}
