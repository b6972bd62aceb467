//! Images of a shard's entities: captured for a checkpoint while events keep coming, and put back from one.
//!
//! ```text
//!   begin_capture ─▶ capture, capture, … true        all entities, or those touched since the last begin
//!        └ from here on, an entity that changes otherwise than at its end is written first
//!   restore(base), restore(touched), …               an image replaces what its entity had, or adds to it
//! ```
//! An image has the entity's events as they are at the newest version: it leaves out those that departed, even while reads
//! still see them.

use super::{Entity, WindowState};
use crate::additions::{Additions, Share};
use crate::capture::Captured;
use crate::image::{self, Image, ImageError, Images};
use crate::ring::Ring;
use crate::version::Version;

impl WindowState {
    /// Begins a capture at this moment: of all entities, or of those that took in an event, or let one go, since the last
    /// capture began (entities put back count as captured). Takes the same short time whatever the state holds.
    ///
    /// A capture that is still running is given up. Whoever gives one up, or loses its images, has to capture all entities
    /// next.
    pub fn begin_capture(&mut self, what: Captured) {
        self.capturing.begin(what, self.entities.len());
    }

    /// Appends images of captured entities, as they were when the capture began, until `out` has grown by about
    /// `bytes_max`: by more where one entity has more, or where many changed since the last call. Returns whether the
    /// capture is at its end. Entities without events have no image; but where events may depart, touched ones have one that says so.
    pub fn capture(&mut self, bytes_max: usize, out: &mut Vec<u8>) -> bool {
        let full = out.len() + bytes_max.max(1);
        out.append(&mut self.capturing.take_saved());
        while out.len() < full {
            // Whether it is whole is known while it runs: the call that finds no next one ends it.
            let is_whole = self.capturing.is_whole();
            let Some(number) = self.capturing.next() else { return true };
            self.write_image(number, is_whole, out);
        }
        false
    }

    /// Puts entities back that a state of the same program captured; an image replaces what the entity had, or adds to it
    /// what came since an earlier one. Returns how many. All events are settled after it. With an error, the images before
    /// the one at fault are put back.
    pub fn restore(&mut self, images: &[u8]) -> Result<usize, ImageError> {
        while let Some(event) = self.unsettled.pop(Version(u64::MAX)) {
            self.standing.settled(event.number, event.time_us);
        }
        self.take_out_departed(Version(u64::MAX));
        self.capturing.put_back();
        if self.index.is_empty() {
            self.make_room(Images::new(images));
        }
        let mut restored = 0;
        for image in Images::new(images) {
            let image = image?;
            let ring = image.ring(&self.layout)?;
            if image.is_addition() {
                let number =
                    self.index.find_key(image.key()).ok_or(image.damaged("it adds to an entity without events"))?;
                self.add_back(number, &ring);
            } else {
                let number = self.index.intern_key(image.key());
                self.put_back(number.ok_or(image.damaged("its key is of another kind"))?, ring);
            }
            restored += 1;
        }
        Ok(restored)
    }

    /// Writes the image of an entity that is about to change, if a capture still has to take it.
    pub(super) fn save(&mut self, number: u32) {
        let is_whole = self.capturing.is_whole();
        if let Some(mut saved) = self.capturing.begin_save(number) {
            self.write_image(number, is_whole, &mut saved);
            self.capturing.end_save(saved);
        }
    }

    /// The image of an entity as the capture that is running has it.
    fn write_image(&self, number: u32, is_whole: bool, out: &mut Vec<u8>) {
        if self.layout.names_events() {
            return self.write_departing_image(number, is_whole, out);
        }
        let Entity { ring, additions, .. } = &self.entities[number as usize];
        let share = additions.share(self.capturing.cuts(), ring.len(&self.layout), is_whole);
        if share.start < share.end {
            image::write(out, self.index.key(number), ring, share, &self.layout);
        }
    }

    /// Without what departed. Where a capture builds on others, an entity without events has an image that says so.
    fn write_departing_image(&self, number: u32, is_whole: bool, out: &mut Vec<u8>) {
        let ring = &self.entities[number as usize].ring;
        let len = ring.len(&self.layout);
        let mut gone = Vec::new();
        self.departures.exclude(number, Version(u64::MAX), &ring.events(&self.layout), &mut gone);
        let share = Share { start: 0, end: len - gone.len() };
        if share.end == 0 && is_whole {
            return;
        }
        let key = self.index.key(number);
        match gone[..] {
            [] => image::write(out, key, ring, share, &self.layout),
            _ => image::write(out, key, &ring.without(&self.layout, &gone), share, &self.layout),
        }
    }

    fn make_room(&mut self, images: Images<'_>) {
        let mut images = images.map_while(Result::ok).peekable();
        let Some(key) = images.peek().map(Image::key) else { return };
        let entities = images.count();
        self.index.reserve(entities, key);
        self.entities.reserve_exact(entities);
    }

    fn put_back(&mut self, number: u32, ring: Ring) {
        self.entities.resize_with(self.index.numbers(), Entity::default);
        self.save(number);
        let entity = &mut self.entities[number as usize];
        self.ring_bytes = self.ring_bytes - entity.ring.memory_bytes() + ring.memory_bytes();
        self.event_count = self.event_count - entity.ring.len(&self.layout) + ring.len(&self.layout);
        *entity = Entity { ring, ..Entity::default() };
        self.replaced(number);
    }

    /// Adds events to what an entity has.
    fn add_back(&mut self, number: u32, added: &Ring) {
        self.save(number);
        let entity = &mut self.entities[number as usize];
        let bytes_before = entity.ring.memory_bytes();
        entity.ring.add(&self.layout, added);
        self.ring_bytes = self.ring_bytes - bytes_before + entity.ring.memory_bytes();
        self.event_count += added.len(&self.layout);
        (entity.newest, entity.additions) = (Version::default(), Additions::default());
        self.replaced(number);
    }

    /// Tells those who follow an entity's events that they are others now.
    fn replaced(&mut self, number: u32) {
        let events = self.entities[number as usize].ring.events(&self.layout);
        self.standing.replaced(&self.program, number, &events);
        if let Some(closing) = &mut self.closing {
            closing.replaced(number, &events);
        }
    }
}
