//! The fields of a row in bytes, one behind the other: numbers as LEB128 (<https://dwarfstd.org/doc/DWARF5.pdf>, 7.6),
//! signed ones zigzag on top of it, texts and bytes behind their length. Each value has one form, and what is read must
//! have it: what is not understood to the last bit is damage. Pure.

/// Why a row cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RowError {
    /// A later build wrote it.
    #[error("it has version {0}, which a later build writes; this build knows version {VERSION}")]
    Later(u8),
    /// It is no row.
    #[error("it is damaged")]
    Damaged,
}

/// What each row begins with.
pub const VERSION: u8 = 1;
/// Most bytes of a number.
const MAX_NUMBER: u32 = 10;

/// Writes a row.
#[derive(Debug)]
pub struct Writer(Vec<u8>);

impl Writer {
    /// A row of about so many bytes.
    pub fn new(bytes: usize) -> Self {
        let mut row = Vec::with_capacity(bytes.saturating_add(1));
        row.push(VERSION);
        Self(row)
    }

    /// The row.
    pub fn finish(self) -> Vec<u8> {
        self.0
    }

    /// A number.
    pub fn number(&mut self, mut n: u64) {
        while n > 0x7f {
            self.0.push(n.to_le_bytes()[0] | 0x80);
            n >>= 7;
        }
        self.0.push(n.to_le_bytes()[0]);
    }

    /// A signed number.
    pub fn signed(&mut self, n: i64) {
        self.number((n.wrapping_shl(1) ^ (n >> 63)).cast_unsigned());
    }

    /// Sixteen bytes.
    pub fn id(&mut self, id: &[u8; 16]) {
        self.0.extend_from_slice(id);
    }

    /// Bytes.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    /// A text.
    pub fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    /// A value, or that there is none.
    pub fn maybe<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        self.number(u64::from(value.is_some()));
        if let Some(value) = value {
            write(self, value);
        }
    }
}

/// Reads a row.
#[derive(Debug)]
pub struct Reader<'b>(&'b [u8]);

impl<'b> Reader<'b> {
    /// Begins to read.
    pub fn new(row: &'b [u8]) -> Result<Self, RowError> {
        match row.split_first() {
            Some((&VERSION, rest)) => Ok(Self(rest)),
            Some((&later, _)) if later > VERSION => Err(RowError::Later(later)),
            _ => Err(RowError::Damaged),
        }
    }

    /// All was read.
    pub fn finish(self) -> Result<(), RowError> {
        if self.0.is_empty() { Ok(()) } else { Err(RowError::Damaged) }
    }

    fn take(&mut self, bytes: usize) -> Result<&'b [u8], RowError> {
        let (taken, rest) = self.0.split_at_checked(bytes).ok_or(RowError::Damaged)?;
        self.0 = rest;
        Ok(taken)
    }

    /// A number.
    pub fn number(&mut self) -> Result<u64, RowError> {
        let mut n = 0;
        for place in 0..MAX_NUMBER {
            let [byte] = self.take(1)? else { return Err(RowError::Damaged) };
            let part = u64::from(byte & 0x7f);
            let shifted = part << (7 * place);
            if shifted >> (7 * place) != part {
                return Err(RowError::Damaged);
            }
            n |= shifted;
            if byte & 0x80 == 0 {
                let is_shortest = part > 0 || place == 0;
                return if is_shortest { Ok(n) } else { Err(RowError::Damaged) };
            }
        }
        Err(RowError::Damaged)
    }

    /// A number of 32 bits.
    pub fn short(&mut self) -> Result<u32, RowError> {
        u32::try_from(self.number()?).map_err(|_| RowError::Damaged)
    }

    /// A signed number.
    pub fn signed(&mut self) -> Result<i64, RowError> {
        let zigzag = self.number()?;
        Ok((zigzag >> 1).cast_signed() ^ -(zigzag & 1).cast_signed())
    }

    /// A yes or a no.
    pub fn is(&mut self) -> Result<bool, RowError> {
        match self.number()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(RowError::Damaged),
        }
    }

    /// Sixteen bytes.
    pub fn id(&mut self) -> Result<[u8; 16], RowError> {
        self.take(16)?.try_into().map_err(|_| RowError::Damaged)
    }

    /// Bytes.
    pub fn bytes(&mut self) -> Result<&'b [u8], RowError> {
        let length = usize::try_from(self.number()?).map_err(|_| RowError::Damaged)?;
        self.take(length)
    }

    /// A text.
    pub fn text(&mut self) -> Result<String, RowError> {
        std::str::from_utf8(self.bytes()?).map(str::to_owned).map_err(|_| RowError::Damaged)
    }

    /// A value, where there is one.
    pub fn maybe<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, RowError>) -> Result<Option<T>, RowError> {
        if self.is()? { read(self).map(Some) } else { Ok(None) }
    }
}
