//! How much memory the process may use: the least of what the machine has and what its control
//! groups allow.

use std::fs;
use std::path::Path;

/// Where control groups are mounted.
const CGROUPS: &str = "/sys/fs/cgroup";

/// Bytes that the process may use; 0 where nobody says.
pub(super) fn memory_bytes_max() -> u64 {
    let read = |path: &Path| fs::read_to_string(path).ok();
    let machine = read(Path::new("/proc/meminfo")).and_then(|text| total_bytes(&text));
    let own = read(Path::new("/proc/self/cgroup")).unwrap_or_default();
    let allowed = limit_files(&own).into_iter().filter_map(|path| {
        // "max" where there is no limit.
        read(Path::new(&path))?.trim().parse::<u64>().ok()
    });
    allowed.chain(machine).min().unwrap_or(0)
}

/// `MemTotal` of `/proc/meminfo`.
fn total_bytes(text: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = value.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// Files that hold the limits of the process's groups, those of the groups around them included;
/// from `/proc/self/cgroup`, in both versions of control groups.
fn limit_files(text: &str) -> Vec<String> {
    let mut files = Vec::new();
    for line in text.lines() {
        let mut fields = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) =
            (fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        let (root, name) = if controllers.is_empty() {
            (CGROUPS.to_owned(), "memory.max")
        } else if controllers.split(',').any(|controller| controller == "memory") {
            (format!("{CGROUPS}/memory"), "memory.limit_in_bytes")
        } else {
            continue;
        };
        let mut path = path.trim_end_matches('/');
        loop {
            files.push(format!("{root}{path}/{name}"));
            match path.rsplit_once('/') {
                Some((parent, _)) => path = parent,
                None => break,
            }
        }
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_looked_for_in_all_groups_around() {
        assert_eq!(
            limit_files("0::/a.slice/b\n"),
            [
                "/sys/fs/cgroup/a.slice/b/memory.max",
                "/sys/fs/cgroup/a.slice/memory.max",
                "/sys/fs/cgroup/memory.max",
            ]
        );
        assert_eq!(limit_files("0::/"), ["/sys/fs/cgroup/memory.max"]);
        assert_eq!(
            limit_files("5:cpu,cpuacct:/x\n4:memory:/docker\nodd\n"),
            [
                "/sys/fs/cgroup/memory/docker/memory.limit_in_bytes",
                "/sys/fs/cgroup/memory/memory.limit_in_bytes",
            ]
        );
    }

    #[test]
    fn the_machine_s_memory_is_read() {
        assert_eq!(total_bytes("MemTotal:        2048 kB\nMemFree: 1 kB\n"), Some(2 << 20));
        assert_eq!(total_bytes("MemFree: 1 kB\n"), None);
        assert!(memory_bytes_max() > 1 << 20);
    }
}
