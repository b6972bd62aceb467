//! When the versions of a table arrived, by their places: for training that knows at each instant what serving knew then.

/// Arrival times of the versions of one partition. Versions may be noted in any order.
#[derive(Debug, Default)]
pub struct VersionArrivals {
    /// In microseconds, by place; the greatest number where no version is.
    arrived_us: Vec<i64>,
}

impl VersionArrivals {
    /// Notes when the version at a place arrived.
    pub fn note(&mut self, place: u64, arrived_us: i64) {
        let place = place as usize;
        if place >= self.arrived_us.len() {
            self.arrived_us.resize(place + 1, i64::MAX);
        }
        self.arrived_us[place] = arrived_us;
    }

    pub(crate) fn of(&self, place: u64) -> i64 {
        self.arrived_us[place as usize]
    }

    /// Bytes of memory held.
    pub fn memory_bytes(&self) -> usize {
        self.arrived_us.capacity() * size_of::<i64>()
    }
}
