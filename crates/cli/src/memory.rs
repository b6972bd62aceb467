//! How much memory this process may use (the machine's, or less where a control group says so), and how much it does.

use std::fs;

/// Where Linux tells the limit of the control group, version 2 and 1.
const GROUP_LIMITS: &[&str] = &["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];
/// What is assumed where nothing can be read.
const ASSUMED_BYTES: usize = 4 << 30;

/// Half of the memory that the process may use, in bytes.
pub(crate) fn default_limit_bytes() -> usize {
    let group =
        own_group_limit_bytes().into_iter().chain(GROUP_LIMITS.iter().filter_map(|path| read_bytes(path))).min();
    let machine = machine_bytes().unwrap_or(ASSUMED_BYTES);
    group.map_or(machine, |group| group.min(machine)) / 2
}

/// The limit of the group that this process is in, where groups are not the root of their own name space.
fn own_group_limit_bytes() -> Option<usize> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let limits = groups.lines().filter_map(|line| {
        let mut parts = line.splitn(3, ':');
        let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        match controllers {
            "" => read_bytes(&format!("/sys/fs/cgroup{path}/memory.max")),
            "memory" => read_bytes(&format!("/sys/fs/cgroup/memory{path}/memory.limit_in_bytes")),
            _ => None,
        }
    });
    limits.min()
}

/// A number of bytes in a file; `max` and what cannot be read are no limit.
fn read_bytes(path: &str) -> Option<usize> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

fn machine_bytes() -> Option<usize> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("MemTotal:"))?;
    let kib: usize = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024)
}
