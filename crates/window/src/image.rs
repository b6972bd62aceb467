//! The byte format of an entity's events, in which they lie in checkpoints; integers are little-endian:
//!
//! ```text
//!   version·1 │ key kind·1 │ has primary keys·1 │ 0·1 │ key bytes·4 │ broad slots·4 │ events·4 │ body bytes·8      (head)
//!   key        a word (kind 0, 8 bytes) or a byte string (kind 1)
//!   body       ring words·4, as in ring.rs, without those that are gone
//!              wides·16
//!              length·4 of each text, then of each primary key
//!              texts, then primary keys
//! ```
//! Version 1 holds all events of an entity, version 3 those that were added since an earlier image of it. Version 2 is that of
//! states whose events may depart: its ring words have places, departed events are left out, and an image without events says
//! that the entity has none any more.
//!
//! Images follow each other with nothing between them. They say nothing of the layout of words: an image fits states of
//! the program that wrote it, and of no other, which is for whoever keeps images to know.
//!
//! Rule kept here: any bytes give rings that are in order or an error, and no memory is taken that the length of the bytes
//! does not justify.

use crate::additions::Share;
use crate::keys::{hash_bytes, hash_word};
use crate::ring::{Ring, RingLayout, RingParts};

/// The version of images that hold all events of an entity.
pub const IMAGE_VERSION: u8 = 1;
/// The version of images of states whose events may depart.
const DEPARTING_IMAGE_VERSION: u8 = 2;
/// The version of images that hold the events added since an earlier one.
const ADDITION_VERSION: u8 = 3;
const HEAD_BYTES: usize = 24;
const KIND_WORD: u8 = 0;
const KIND_BYTES: u8 = 1;
/// Words are turned into bytes so many at a time, which stay in the first cache.
const CHUNK_WORDS: usize = 1024;

/// Bytes that are no images of a state like this.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    /// Written by another version of the program.
    #[error(
        "the image at byte {at} has version {found}, this program reads {IMAGE_VERSION} and {ADDITION_VERSION}, and \
         {DEPARTING_IMAGE_VERSION} where events may depart"
    )]
    Version {
        /// Where it begins among the bytes given.
        at: usize,
        /// Its version.
        found: u8,
    },
    /// Not written by this program, or not for this view.
    #[error("the image at byte {at} is damaged: {detail}")]
    Damaged {
        /// Where it begins among the bytes given.
        at: usize,
        /// What is wrong with it.
        detail: &'static str,
    },
}

impl ImageError {
    /// The same for an image so many bytes further.
    pub fn moved_by(self, bytes: usize) -> ImageError {
        match self {
            ImageError::Version { at, found } => ImageError::Version { at: at + bytes, found },
            ImageError::Damaged { at, detail } => ImageError::Damaged { at: at + bytes, detail },
        }
    }
}

/// The key of one entity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EntityKey<'a> {
    Word(i64),
    Bytes(&'a [u8]),
}

/// The image of one entity, its head and its key read.
#[derive(Debug, Clone, Copy)]
pub struct Image<'a> {
    at: usize,
    version: u8,
    bytes: &'a [u8],
    key: EntityKey<'a>,
    broad: u32,
    events: usize,
    has_primary_keys: bool,
    body: &'a [u8],
}

/// Goes over images that follow each other, looking at heads and keys alone; ends after the first error.
#[derive(Debug, Clone)]
pub struct Images<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// The version of the image of a share that begins with this event, of a ring laid out like this.
fn version_of(layout: &RingLayout, start: usize) -> u8 {
    match (layout.names_events(), start) {
        (true, _) => DEPARTING_IMAGE_VERSION,
        (false, 0) => IMAGE_VERSION,
        (false, _) => ADDITION_VERSION,
    }
}

/// Appends the image of a share of an entity's events. An entity without events may have none: it answers like one never
/// seen.
pub(crate) fn write(out: &mut Vec<u8>, key: EntityKey<'_>, ring: &Ring, share: Share, layout: &RingLayout) {
    let Share { start, end } = share;
    debug_assert!(start < end || layout.names_events(), "where no event departs there is no image without events");
    debug_assert!(start == 0 || !layout.names_events(), "where events may depart images are whole");
    let RingParts { broad, words, wides, texts, primary_keys } = ring.parts(layout, start..end);
    let strings = || texts.iter().chain(primary_keys);
    let string_bytes: usize = strings().map(|string| size_of::<u32>() + string.len()).sum();
    let body_bytes = size_of_val(words) + size_of_val(wides) + string_bytes;
    let (kind, key_bytes) = match key {
        EntityKey::Word(_) => (KIND_WORD, size_of::<i64>()),
        EntityKey::Bytes(bytes) => (KIND_BYTES, bytes.len()),
    };
    out.reserve(HEAD_BYTES + key_bytes + body_bytes);
    out.extend_from_slice(&[version_of(layout, start), kind, u8::from(!primary_keys.is_empty()), 0]);
    out.extend_from_slice(&length(key_bytes));
    out.extend_from_slice(&broad.to_le_bytes());
    out.extend_from_slice(&length(end - start));
    out.extend_from_slice(&(body_bytes as u64).to_le_bytes());
    match key {
        EntityKey::Word(word) => out.extend_from_slice(&word.to_le_bytes()),
        EntityKey::Bytes(bytes) => out.extend_from_slice(bytes),
    }
    write_words(out, words);
    wides.iter().for_each(|wide| out.extend_from_slice(&wide.to_le_bytes()));
    strings().for_each(|string| out.extend_from_slice(&length(string.len())));
    strings().for_each(|string| out.extend_from_slice(string));
}

fn write_words(out: &mut Vec<u8>, words: &[u32]) {
    for words in words.chunks(CHUNK_WORDS) {
        let at = out.len();
        out.resize(at + size_of_val(words), 0);
        out[at..].as_chunks_mut().0.iter_mut().zip(words).for_each(|(bytes, word)| *bytes = word.to_le_bytes());
    }
}

fn length(length: usize) -> [u8; 4] {
    u32::try_from(length)
        .expect("an entity has fewer than 2^32 events, its key and texts less than 4 GiB")
        .to_le_bytes()
}

impl<'a> Images<'a> {
    /// The images in `bytes`.
    pub fn new(bytes: &'a [u8]) -> Images<'a> {
        Images { bytes, at: 0 }
    }

    fn read_next(&self) -> Result<Image<'a>, ImageError> {
        let at = self.at;
        let damaged = |detail| ImageError::Damaged { at, detail };
        let rest = &self.bytes[at..];
        let version = rest.first().copied().unwrap_or(IMAGE_VERSION);
        if ![IMAGE_VERSION, DEPARTING_IMAGE_VERSION, ADDITION_VERSION].contains(&version) {
            return Err(ImageError::Version { at, found: version });
        }
        let (head, rest) = rest.split_first_chunk::<HEAD_BYTES>().ok_or(damaged("its head is cut off"))?;
        let [_, kind, has_primary_keys, nothing, ..] = *head;
        if kind > KIND_BYTES || has_primary_keys > 1 || nothing != 0 {
            return Err(damaged("its head names what there is not"));
        }
        let [key_bytes, broad, events] = [4, 8, 12].map(|place| word_at(head, place));
        let body_bytes = u64::from(word_at(head, 16)) | u64::from(word_at(head, 20)) << 32;
        let (key, rest) = rest.split_at_checked(key_bytes as usize).ok_or(damaged("its key is cut off"))?;
        let body = usize::try_from(body_bytes).ok().and_then(|body_bytes| rest.get(..body_bytes));
        let body = body.ok_or(damaged("its events are cut off"))?;
        let key = match kind {
            KIND_WORD => {
                EntityKey::Word(i64::from_le_bytes(key.try_into().map_err(|_| damaged("its key is no word"))?))
            }
            _ => EntityKey::Bytes(key),
        };
        if events == 0 && version != DEPARTING_IMAGE_VERSION {
            return Err(damaged("it holds no event"));
        }
        let bytes = &self.bytes[at..at + HEAD_BYTES + key_bytes as usize + body.len()];
        let has_primary_keys = has_primary_keys == 1;
        Ok(Image { at, version, bytes, key, broad, events: events as usize, has_primary_keys, body })
    }
}

impl<'a> Iterator for Images<'a> {
    type Item = Result<Image<'a>, ImageError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at == self.bytes.len() {
            return None;
        }
        let image = self.read_next();
        self.at = image.as_ref().map_or(self.bytes.len(), |image| self.at + image.bytes.len());
        Some(image)
    }
}

impl<'a> Image<'a> {
    /// The whole of it.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The hash of its key, as [`Keys::hash`](crate::Keys::hash) gives it.
    pub fn hash(&self) -> u64 {
        match self.key {
            EntityKey::Word(word) => hash_word(word),
            EntityKey::Bytes(bytes) => hash_bytes(bytes),
        }
    }

    /// Whether its key is a word, as those of a [`KeyEncoder`](crate::KeyEncoder) that says so are.
    pub fn has_word_key(&self) -> bool {
        matches!(self.key, EntityKey::Word(_))
    }

    /// Whether it adds to what the entity has, in place of replacing it.
    pub(crate) fn is_addition(&self) -> bool {
        self.version == ADDITION_VERSION
    }

    pub(crate) fn key(&self) -> EntityKey<'a> {
        self.key
    }

    /// That something is wrong with this image.
    pub fn damaged(&self, detail: &'static str) -> ImageError {
        ImageError::Damaged { at: self.at, detail }
    }

    /// Its events.
    pub(crate) fn ring(&self, layout: &RingLayout) -> Result<Ring, ImageError> {
        if layout.names_events() != (self.version == DEPARTING_IMAGE_VERSION) {
            return Err(ImageError::Version { at: self.at, found: self.version });
        }
        let strings = layout.texts() + usize::from(self.has_primary_keys);
        let counts =
            [layout.words_of_event(self.broad), layout.wides(), strings].map(|each| each.checked_mul(self.events));
        let [Some(words), Some(wides), Some(strings)] = counts else {
            return Err(self.damaged("it holds fewer events than it says"));
        };
        let mut body = Body { bytes: self.body };
        let read = || Some((body.words(words)?, body.wides(wides)?, body.strings(strings)?, body.bytes.is_empty()));
        let Some((words, wides, mut texts, true)) = { read }() else {
            return Err(self.damaged("it holds more or fewer events than it says"));
        };
        let primary_keys = texts.split_off(layout.texts() * self.events);
        let ring = Ring::from_parts(layout, self.broad, words, wides, texts, primary_keys);
        ring.ok_or(self.damaged("its events are not in order, or not of this view"))
    }
}

/// What is left of an image's body.
struct Body<'a> {
    bytes: &'a [u8],
}

impl<'a> Body<'a> {
    fn take(&mut self, bytes: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.bytes.split_at_checked(bytes)?;
        self.bytes = rest;
        Some(taken)
    }

    fn words(&mut self, count: usize) -> Option<Vec<u32>> {
        let bytes = self.take(count.checked_mul(size_of::<u32>())?)?;
        Some(bytes.as_chunks().0.iter().map(|word| u32::from_le_bytes(*word)).collect())
    }

    fn wides(&mut self, count: usize) -> Option<Vec<i128>> {
        let bytes = self.take(count.checked_mul(size_of::<i128>())?)?;
        Some(bytes.as_chunks().0.iter().map(|wide| i128::from_le_bytes(*wide)).collect())
    }

    fn strings(&mut self, count: usize) -> Option<Vec<Box<[u8]>>> {
        let lengths = self.take(count.checked_mul(size_of::<u32>())?)?;
        let lengths = lengths.as_chunks().0.iter().map(|length| u32::from_le_bytes(*length) as usize);
        lengths.map(|length| self.take(length).map(Box::from)).collect()
    }
}

fn word_at(head: &[u8; HEAD_BYTES], place: usize) -> u32 {
    head[place..].first_chunk().map_or(0, |word| u32::from_le_bytes(*word))
}
