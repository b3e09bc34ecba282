//! Records of tagged fields, for small things that will grow.
//!
//! `varint tag | varint length | bytes`, tags ascending, each at most once. A reader that meets an unknown
//! tag below 64 must not go on ("too new"); unknown tags from 64 up may be ignored.

use crate::error::{FormatError, FormatResult};
use crate::kind::Timestamp;
use crate::wire::{Reader, Write};

/// Tags from here on may be ignored by readers that do not know them.
const OPTIONAL_FROM: u64 = 64;
const TAGS_MAX: u64 = 1 << 20;

/// Writes a record.
#[derive(Default)]
pub struct RecordWriter {
    out: Vec<u8>,
    last: Option<u64>,
}

impl RecordWriter {
    /// Appends a field; tags must ascend.
    pub(crate) fn field(&mut self, tag: u64, bytes: &[u8]) {
        assert!(self.last < Some(tag), "tags ascend");
        self.last = Some(tag);
        self.out.put_varint(tag);
        self.out.put_bytes(bytes);
    }

    /// Appends a number.
    pub(crate) fn number(&mut self, tag: u64, value: u64) {
        let mut bytes = Vec::new();
        bytes.put_varint(value);
        self.field(tag, &bytes);
    }

    /// Appends what `write` writes.
    pub(crate) fn with(&mut self, tag: u64, write: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = Vec::new();
        write(&mut bytes);
        self.field(tag, &bytes);
    }

    /// Appends a time.
    pub(crate) fn time(&mut self, tag: u64, time: Timestamp) {
        self.with(tag, |out| {
            out.put_signed(time.secs);
            out.put_varint(time.nanos as u64);
        });
    }

    /// Appends names of equal length, back to back.
    pub(crate) fn names<const N: usize>(&mut self, tag: u64, names: impl Iterator<Item = [u8; N]>) {
        self.field(tag, &names.flatten().collect::<Vec<u8>>());
    }

    /// Appends a list of byte strings.
    pub(crate) fn list<I: AsRef<[u8]>>(&mut self, tag: u64, items: &[I]) {
        self.with(tag, |out| {
            out.put_varint(items.len() as u64);
            items.iter().for_each(|i| out.put_bytes(i.as_ref()));
        });
    }

    /// The record's bytes.
    pub(crate) fn finish(self) -> Vec<u8> {
        self.out
    }
}

/// Reads a record.
pub struct RecordReader<'a> {
    fields: Vec<(u64, &'a [u8])>,
    what: &'static str,
}

impl<'a> RecordReader<'a> {
    /// Splits a record into fields; `known` are the tags this version understands.
    pub(crate) fn new(bytes: &'a [u8], what: &'static str, known: &[u64]) -> FormatResult<Self> {
        let mut r = Reader::new(bytes, what);
        let mut fields: Vec<(u64, &[u8])> = Vec::new();
        while r.remaining() > 0 {
            let tag = r.varint_max(TAGS_MAX)?;
            if fields.last().is_some_and(|(last, _)| *last >= tag) {
                return Err(r.error("its fields are not in order"));
            }
            if tag < OPTIONAL_FROM && !known.contains(&tag) {
                return Err(FormatError::TooNew { what, why: "a field that must be understood" });
            }
            fields.push((tag, r.bytes(bytes.len())?));
        }
        Ok(RecordReader { fields, what })
    }

    /// A field, if it is there.
    pub(crate) fn find(&self, tag: u64) -> Option<Reader<'a>> {
        let (_, bytes) = self.fields.iter().find(|(t, _)| *t == tag)?;
        Some(Reader::new(bytes, self.what))
    }

    /// A field that must be there.
    pub(crate) fn need(&self, tag: u64) -> FormatResult<Reader<'a>> {
        self.find(tag).ok_or(FormatError::corrupt(self.what, "a field is missing"))
    }

    /// A field of exactly `N` bytes that must be there.
    pub(crate) fn array<const N: usize>(&self, tag: u64) -> FormatResult<[u8; N]> {
        let mut r = self.need(tag)?;
        let array = r.array()?;
        r.end()?;
        Ok(array)
    }

    /// A number; 0 when absent.
    pub(crate) fn number(&self, tag: u64) -> FormatResult<u64> {
        let Some(mut r) = self.find(tag) else { return Ok(0) };
        let value = r.varint()?;
        r.end()?;
        Ok(value)
    }

    /// A time that must be there.
    pub(crate) fn time(&self, tag: u64) -> FormatResult<Timestamp> {
        let mut r = self.need(tag)?;
        let time = Timestamp { secs: r.signed()?, nanos: r.varint_max(999_999_999)? as u32 };
        r.end()?;
        Ok(time)
    }

    /// Names of equal length, back to back; the field must be there.
    pub(crate) fn names<const N: usize>(&self, tag: u64) -> FormatResult<impl Iterator<Item = [u8; N]>> {
        let mut r = self.need(tag)?;
        let (names, cut) = r.rest().as_chunks::<N>();
        if cut.is_empty() { Ok(names.iter().copied()) } else { Err(r.error("a list of names is cut")) }
    }

    /// A text; empty when absent.
    pub(crate) fn text(&self, tag: u64) -> FormatResult<String> {
        let Some(mut r) = self.find(tag) else { return Ok(String::new()) };
        let bytes = r.rest();
        String::from_utf8(bytes.to_vec()).map_err(|_| r.error("a text is not UTF-8"))
    }

    /// A list of byte strings; empty when absent.
    pub(crate) fn list(&self, tag: u64) -> FormatResult<Vec<Vec<u8>>> {
        let Some(mut r) = self.find(tag) else { return Ok(Vec::new()) };
        let n = r.count(crate::limits::LIST_ITEMS_MAX, 1)?;
        let items = (0..n).map(|_| Ok(r.bytes(usize::MAX)?.to_vec())).collect::<FormatResult<_>>()?;
        r.end()?;
        Ok(items)
    }

    /// A list of texts; empty when absent.
    pub(crate) fn texts(&self, tag: u64) -> FormatResult<Vec<String>> {
        let to_text =
            |b| String::from_utf8(b).map_err(|_| FormatError::corrupt(self.what, "a text is not UTF-8"));
        self.list(tag)?.into_iter().map(to_text).collect()
    }
}
